/** Lines over logarithmic axes, as an SVG that is legible on light and dark pages. */

const WIDTH = 720
const HEIGHT = 380
const LEFT = 72
const RIGHT = 160
const TOP = 36
const BOTTOM = 52
const LABEL_HEIGHT = 15
/** Of lines and their names, on light pages and on dark ones; patterns, for who cannot tell the colours apart. */
const LOOKS = [
	{ light: '#0072b2', dark: '#56b4e9', dashes: '' },
	{ light: '#b34700', dark: '#ff9e57', dashes: '7 4' },
	{ light: '#00795a', dark: '#3fd6a8', dashes: '2 4' },
	{ light: '#8a3f6b', dark: '#e39cc4', dashes: '10 3 2 3' },
]

/**
 * @typedef {{ x: number, y: number, least?: number, most?: number }} Point above zero; `least` and `most`: the range of `y`
 *
 * @typedef {object} Plot
 * @property {string} title
 * @property {string} x what the horizontal axis shows, with its unit
 * @property {string} y
 * @property {{ name: string, points: Point[] }[]} series
 * @property {(value: number) => string} [nameX] of a place on the axis
 * @property {(value: number) => string} [nameY]
 */

/** @param {Plot} plot @returns {string} */
export function plotLines({ title, x, y, series, nameX = String, nameY = String }) {
	const points = series.flatMap((one) => one.points)
	const xs = [...new Set(points.map((point) => point.x))].sort((a, b) => a - b)
	const ys = decades(points.flatMap((point) => [point.y, point.least ?? point.y, point.most ?? point.y]))
	const across = scale(xs[0], xs[xs.length - 1], LEFT, WIDTH - RIGHT)
	const up = scale(ys[0], ys[ys.length - 1], HEIGHT - BOTTOM, TOP)
	const ends = apart(series.map((one) => up(one.points[one.points.length - 1].y)))
	const parts = [
		text(LEFT, TOP - 16, `${title}: ${y}`, 'start'),
		text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x),
		...ys.flatMap((value) => [
			`<path class="grid" d="M${LEFT} ${up(value)}H${WIDTH - RIGHT}"/>`,
			text(LEFT - 8, up(value) + 4, nameY(value), 'end'),
		]),
		...xs.map((value) => text(across(value), HEIGHT - BOTTOM + 20, nameX(value))),
		...series.map((one, at) => line(one, at, ends[at], across, up)),
	]
	return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" role="img">
<title>${escaped(`${title}: ${y}`)}</title>
<style>${style(series.length)}</style>
${parts.join('\n')}
</svg>
`
}

/**
 * @param {Plot['series'][number]} series
 * @param {number} at
 * @param {number} end where its name stands
 * @param {(value: number) => number} across
 * @param {(value: number) => number} up
 */
function line({ name, points }, at, end, across, up) {
	const places = points.map((point) => ({ ...point, left: across(point.x), top: up(point.y) }))
	const ranges = places
		.filter(({ least, most }) => least !== undefined && most !== undefined && up(least) !== up(most))
		.map(({ left, least, most }) => `<path d="M${left} ${up(Number(least))}V${up(Number(most))}"/>`)
	const path = places.map(({ left, top }) => `${left} ${top}`).join('L')
	const dots = places.map(({ left, top }) => `<circle cx="${left}" cy="${top}" r="3"/>`)
	const label = text(WIDTH - RIGHT + 10, end + 4, name, 'start')
	return [`<g class="s${at}">`, `<path class="line" d="M${path}"/>`, ...ranges, ...dots, label, '</g>'].join('\n')
}

/** @param {number} count of the series */
function style(count) {
	const looks = LOOKS.slice(0, count)
	const colours = (/** @type {'light' | 'dark'} */ page) =>
		looks.map((look, at) => `.s${at}{color:${look[page]}}`).join('')
	const dashes = looks.map(({ dashes: pattern }, at) => (pattern ? `.s${at} .line{stroke-dasharray:${pattern}}` : ''))
	return (
		'text{fill:#444}.grid{stroke:#888;stroke-opacity:.35}g path{fill:none;stroke:currentColor}.line{stroke-width:2}' +
		`g circle,g text{fill:currentColor}${colours('light')}${dashes.join('')}` +
		`@media(prefers-color-scheme:dark){text{fill:#ccc}${colours('dark')}}`
	)
}

/** Powers of ten around the values. @param {number[]} values */
function decades(values) {
	const from = Math.floor(Math.log10(Math.min(...values)))
	const to = Math.max(from + 1, Math.ceil(Math.log10(Math.max(...values))))
	return Array.from({ length: to - from + 1 }, (_, at) => 10 ** (from + at))
}

/**
 * @param {number} least @param {number} most of the values
 * @param {number} from @param {number} to on the page
 */
function scale(least, most, from, to) {
	const [low, high] = [Math.log10(least), Math.log10(most)]
	return (/** @type {number} */ value) =>
		Math.round((from + ((Math.log10(value) - low) / (high - low || 1)) * (to - from)) * 10) / 10
}

/** The same places, moved down where names would cover each other. @param {number[]} places */
function apart(places) {
	const moved = [...places]
	const order = places.map((_, at) => at).sort((a, b) => places[a] - places[b])
	for (const [rank, at] of order.entries())
		if (rank > 0) moved[at] = Math.max(moved[at], moved[order[rank - 1]] + LABEL_HEIGHT)
	return moved
}

/** @param {number} left @param {number} top @param {string} words @param {string} [anchor] */
const text = (left, top, words, anchor = 'middle') =>
	`<text x="${left}" y="${top}" text-anchor="${anchor}">${escaped(words)}</text>`

/** @param {string} words */
const escaped = (words) => words.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`)
