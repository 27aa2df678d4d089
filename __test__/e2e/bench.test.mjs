/** The benchmark as CI runs it: results, counts and ratios with wide bounds (`bench/workloads.mjs`), never absolute times. */
import { execFile } from 'node:child_process'
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

test('F1-F3, F5: a quick round beside 1.4.4 is right, and within its bounds of counts and ratios', async () => {
	const { stdout } = await promisify(execFile)(process.execPath, ['bench/compare.mjs', '--quick'], { cwd: ROOT })
	for (const workload of ['chain', 'fan', 'fan-50ms', 'steps']) assert.match(stdout, new RegExp(`^${workload}:`, 'm'))
})
