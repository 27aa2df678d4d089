/**
 * The one error class and the table of codes that JavaScript raises itself. Codes of the engine are in
 * `src/kernel/error.rs`; where both sides can find the same fault they use the same code.
 */

/** Stable codes, `error.code`. This table is the only place where the strings are written on this side. */
export const Code = Object.freeze({
	/** An option has a wrong type or value. */
	Option: 'ERR_OPTION',
	/** No native binary fits this machine, or it does not load. */
	NativeLoad: 'ERR_NATIVE_LOAD',
	/** The operation needs a running worker. */
	NotRunning: 'ERR_NOT_RUNNING',
	/** `start()` ran into its time limit. */
	StartTimeout: 'ERR_START_TIMEOUT',
	/** The key belongs to the adapter's own bookkeeping. */
	ReservedKey: 'ERR_RESERVED_KEY',
	/** The blueprint is not registered in `runtimeOptions.blueprints`. */
	BlueprintUnknown: 'ERR_BLUEPRINT_UNKNOWN',
	/** The blueprint has no node that could start. */
	BlueprintEmpty: 'ERR_BLUEPRINT_EMPTY',
	/** A run with this id exists already. */
	RunExists: 'ERR_RUN_EXISTS',
	/** `result()` waited as long as it was told to. */
	ResultTimeout: 'ERR_RESULT_TIMEOUT',
	/** A run that is to be resumed or cancelled has no row. */
	RunUnknown: 'ERR_RUN_UNKNOWN',
	/** A command is of a kind that this worker does not know. */
	CommandUnknown: 'ERR_COMMAND_UNKNOWN',
	/** The operation needs a client whose settings can be read. */
	Unsupported: 'ERR_UNSUPPORTED',
	/** A keyspace, table or column is missing. */
	SchemaMissing: 'ERR_SCHEMA_MISSING',
	/** A job message is not JSON. */
	JobNotJson: 'ERR_JOB_NOT_JSON',
	/** A job message is JSON but not an object. */
	JobNotObject: 'ERR_JOB_NOT_OBJECT',
	/** A field of a job is missing, empty or not a string. */
	JobField: 'ERR_JOB_FIELD',
	/** A job or one of its fields is too long. */
	JobTooLarge: 'ERR_JOB_TOO_LARGE',
	/** The value of a key is larger than `maxValueBytes`. */
	TooLarge: 'ERR_TOO_LARGE',
	/** An attempt of a node took longer than its `config.timeout`. */
	NodeTimeout: 'ERR_NODE_TIMEOUT',
	/** The run left this process while a change of its context was being written. */
	RunClosed: 'ERR_RUN_CLOSED',
	/** Stored context is not a JSON object. */
	StateCorrupt: 'ERR_STATE_CORRUPT',
	/** A client, store or hook of the user failed. */
	Callback: 'ERR_CALLBACK',
	/** A bug of ours. */
	Internal: 'ERR_INTERNAL',
})

/** What this package throws and rejects with, apart from the messages it inherits from the JavaScript package. */
export class KafkaAdapterError extends Error {
	/**
	 * @param {string} code one of {@link Code} or a code of the engine
	 * @param {string} message what, where, and what to do next; never a secret
	 * @param {{ retryable?: boolean, cause?: unknown }} [details]
	 */
	constructor(code, message, { retryable = false, cause } = {}) {
		super(message, cause === undefined ? undefined : { cause })
		this.name = 'KafkaAdapterError'
		/** Stable; the README lists them. */
		this.code = code
		/** Whether the same request may succeed later. */
		this.retryable = retryable
	}
}

/**
 * @param {string} path the option as the user wrote it, for example `options.kafka.brokers[1]`
 * @param {string} problem
 * @param {string} fix
 */
export const optionError = (path, problem, fix) => new KafkaAdapterError(Code.Option, `${path}: ${problem}. ${fix}`)

/**
 * @param {unknown} error
 * @returns {string} the words of anything thrown
 */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error))

/** @typedef {{ __error: { code: string, message: string, retryable: boolean } }} Failure */

/**
 * @param {unknown} value
 * @returns {value is Failure}
 */
const isFailure = (value) => typeof value === 'object' && value !== null && Object.hasOwn(value, '__error')

/**
 * The result of a native call: napi drops the code of errors from async exports, so the engine answers failures
 * as values, which become real errors here.
 *
 * @template T
 * @param {T | Failure} value
 * @returns {T}
 */
export const unwrapValue = (value) => {
	if (!isFailure(value)) return value
	const { code, message, retryable } = value.__error
	throw new KafkaAdapterError(code, message, { retryable })
}

/**
 * @template T
 * @param {Promise<T | Failure>} promise
 * @returns {Promise<T>}
 */
export const unwrap = async (promise) => unwrapValue(await promise)
