/** Plots over logarithmic axes, and that the page of the state's benchmark is what the script makes of its raw figures. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { plotLines } from '../../bench/plot.mjs'
import { FIGURES, pages } from '../../bench/state-report.mjs'

const docs = (/** @type {string} */ name) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8')

/** @param {import('../../bench/plot.mjs').Plot['series']} series */
const plot = (series) => plotLines({ title: 'T', x: 'size', y: 'speed', series })

/** The dots of each series. @param {string} svg */
const dots = (svg) =>
	svg
		.split('<g class="s')
		.slice(1)
		.map((part) => [...part.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [Number(x), Number(y)]))

/** @param {string} svg @param {string} words where such a text stands */
const heightOf = (svg, words) => Number(new RegExp(`y="([\\d.]+)"[^>]*>${words}<`).exec(svg)?.[1])

describe('a plot', () => {
	it('has equal distances for equal ratios, larger values to the right and above', () => {
		const [[a, b, c]] = dots(
			plot([
				{
					name: 'one',
					points: [
						{ x: 1, y: 10 },
						{ x: 10, y: 100 },
						{ x: 100, y: 1000 },
					],
				},
			]),
		)
		assert.ok(a[0] < b[0] && a[1] > b[1])
		assert.ok(Math.abs(c[0] - b[0] - (b[0] - a[0])) < 0.2)
		assert.ok(Math.abs(c[1] - b[1] - (b[1] - a[1])) < 0.2)
	})

	it('keeps every value and range between its axes, equal values and a single point included', () => {
		const svg = plot([{ name: 'one', points: [{ x: 5, y: 100, least: 3, most: 4000 }] }])
		const [top, bottom] = [heightOf(svg, '10000'), heightOf(svg, '1')]
		const [, from, to] = /M[\d.]+ ([\d.]+)V([\d.]+)"\/>/.exec(svg) ?? []
		assert.ok(top < Number(to) && Number(to) < Number(from) && Number(from) < bottom)
		assert.doesNotMatch(svg, /NaN|Infinity|undefined/)
	})

	it('names its lines beside them, one not over the other', () => {
		const points = [{ x: 1, y: 50 }]
		const svg = plot(['one', 'two', 'three'].map((name) => ({ name, points })))
		const heights = ['one', 'two', 'three'].map((name) => heightOf(svg, name)).sort((a, b) => a - b)
		assert.ok(heights[1] - heights[0] >= 12 && heights[2] - heights[1] >= 12, String(heights))
	})

	it('escapes what it is given', () => {
		assert.match(plot([{ name: 'a<b & "c"', points: [{ x: 1, y: 1 }] }]), />a&#60;b &#38; &#34;c&#34;</)
	})
})

describe('docs/benchmarks-state.md', () => {
	for (const [name, text] of Object.entries(pages(JSON.parse(docs(FIGURES)))))
		it(`${name} is what the script makes of the raw figures`, () => assert.equal(docs(name), text))
})
