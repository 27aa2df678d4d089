import { join } from 'node:path'

/** @returns {string} */
export function java() {
	return process.env.JAVA_HOME ? join(process.env.JAVA_HOME, 'bin', 'java') : 'java'
}

/**
 * What every JVM here gets: it leaves nothing outside its own folder, and it ends instead of limping on.
 *
 * @param {string} dir
 */
export function jvmFlags(dir) {
	return [
		`-Djava.io.tmpdir=${join(dir, 'tmp')}`,
		'-Djava.awt.headless=true',
		'-XX:-UsePerfData',
		'-XX:+ExitOnOutOfMemoryError',
	]
}
