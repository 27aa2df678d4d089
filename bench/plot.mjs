/** Lines over logarithmic axes, as an SVG that is legible on light and dark pages. */

const WIDTH = 720
const HEIGHT = 400
const LEFT = 80
const RIGHT = 180
const TOP = 40
const BOTTOM = 60
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7']

/**
 * @typedef {object} Plot
 * @property {string} title
 * @property {string} x what the horizontal axis shows, with its unit
 * @property {string} y
 * @property {{ name: string, points: [x: number, y: number][] }[]} series above zero
 * @property {(value: number) => string} [nameX] of a place on the axis
 * @property {(value: number) => string} [nameY]
 */

/** @param {number[]} values */
const decades = (values) => {
	const [from, to] = [Math.floor(Math.log10(Math.min(...values))), Math.ceil(Math.log10(Math.max(...values)))]
	return Array.from({ length: Math.max(to - from, 1) + 1 }, (_, at) => 10 ** (from + at))
}

const escaped = (/** @type {string} */ text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`)

/** @param {Plot} plot @returns {string} */
export function plotLines({ title, x, y, series, nameX = String, nameY = String }) {
	const points = series.flatMap((one) => one.points)
	const xs = [...new Set(points.map(([value]) => value))].sort((a, b) => a - b)
	const ys = decades(points.map(([, value]) => value))
	const across = scale(xs[0], /** @type {number} */ (xs.at(-1)), LEFT, WIDTH - RIGHT)
	const up = scale(ys[0], /** @type {number} */ (ys.at(-1)), HEIGHT - BOTTOM, TOP)
	const text = (
		/** @type {number} */ left,
		/** @type {number} */ top,
		/** @type {string} */ words,
		anchor = 'middle',
	) => `<text x="${left}" y="${top}" text-anchor="${anchor}">${escaped(words)}</text>`
	const grid = [
		...ys.flatMap((value) => [
			`<path class="grid" d="M${LEFT} ${up(value)}H${WIDTH - RIGHT}"/>`,
			text(LEFT - 8, up(value) + 4, nameY(value), 'end'),
		]),
		...xs.map((value) => text(across(value), HEIGHT - BOTTOM + 20, nameX(value))),
	]
	const lines = series.flatMap(({ name, points: own }, at) => {
		const path = own.map(([left, top]) => `${across(left)} ${up(top)}`).join('L')
		const [lastX, lastY] = /** @type {[number, number]} */ (own.at(-1))
		return [
			`<path fill="none" stroke="${COLOURS[at]}" stroke-width="2" d="M${path}"/>`,
			...own.map(([left, top]) => `<circle fill="${COLOURS[at]}" cx="${across(left)}" cy="${up(top)}" r="3"/>`),
			`<g fill="${COLOURS[at]}">${text(across(lastX) + 8, up(lastY) + 4, name, 'start')}</g>`,
		]
	})
	return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">
<style>text{fill:#555}g text{fill:inherit}.grid{stroke:#999;stroke-opacity:.3}@media(prefers-color-scheme:dark){text{fill:#bbb}}</style>
<title>${escaped(title)}</title>
${text(LEFT, TOP - 18, `${title}: ${y}`, 'start')}
${text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, x)}
${[...grid, ...lines].join('\n')}
</svg>
`
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
