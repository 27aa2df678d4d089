import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/**
 * A process (watchdog.mjs) that ends process groups when this one is gone, however it went; the pipe between the two tells it.
 *
 * @returns {{ pid: number, watch(pid: number): void, forget(pid: number): void, remove(path: string): void, end(): Promise<void> }}
 *   `watch`: a process group to end; `remove`: a path to remove after that; `end` ends the guard itself, with what is still watched
 */
export function startGuard() {
	const script = fileURLToPath(new URL('watchdog.mjs', import.meta.url))
	const child = spawn(process.execPath, [script], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
	const exited = new Promise((ended) => child.once('exit', ended))
	child.unref()
	child.stdin.unref()
	// When the watchdog is gone there is nobody to tell; the services are then ended by stop() alone.
	child.stdin.on('error', () => {})
	const tell = (line) => child.stdin.write(`${line}\n`)
	return {
		pid: child.pid,
		watch: (pid) => tell(`group ${pid}`),
		forget: (pid) => tell(`gone ${pid}`),
		remove: (path) => tell(`remove ${path}`),
		end() {
			child.ref()
			child.stdin.end()
			return exited
		},
	}
}
