/**
 * Every CQL text that is sent through a client object of the user: those of the JavaScript package. `docs/statements.md`
 * lists them beside those of the engine (`src/backends/cassandra/statements.rs`).
 *
 * @typedef {(table: string) => string} Statement
 */

/** @type {Statement} */
export const readDocument = (table) => `SELECT context_data FROM ${table} WHERE run_id = ?`

/** @type {Statement} */
export const writeDocument = (table) => `INSERT INTO ${table} (run_id, context_data) VALUES (?, ?)`

/** @type {Statement} */
export const beginStatus = (table) =>
	`INSERT INTO ${table} (run_id, status, updated_at) VALUES (?, 'running', toTimestamp(now())) IF NOT EXISTS`

/** @type {Statement} */
export const touchStatus = (table) => `UPDATE ${table} SET updated_at = toTimestamp(now()) WHERE run_id = ?`

/** @type {Statement} */
export const publishStatus = (table) =>
	`INSERT INTO ${table} (run_id, status, status_data, updated_at) VALUES (?, ?, ?, toTimestamp(now()))`

/** @type {Statement} */
export const readStatus = (table) => `SELECT status, status_data FROM ${table} WHERE run_id = ?`

/** @type {Statement} */
export const findStalled = (table) => `SELECT run_id FROM ${table} WHERE status = ? AND updated_at < ? ALLOW FILTERING`
