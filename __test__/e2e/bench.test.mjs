/** The benchmark as CI runs it: counts and ratios with wide bounds, never absolute times. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

test('F1-F3, F5: a quick round of each workload is right and within its bounds', async () => {
	const { stdout } = await promisify(execFile)(process.execPath, ['bench/compare.mjs', '--quick'], { cwd: ROOT })
	for (const workload of ['chain', 'fan', 'fan-50ms', 'steps']) assert.match(stdout, new RegExp(`^${workload}:`, 'm'))
})
