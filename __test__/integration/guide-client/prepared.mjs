// Loaded before a client program with `--import`. Without `prepare` cassandra-driver guesses the types of parameters, and
// takes a string that looks like a uuid for one: a text column then refuses it ("String didn't validate"), before
// anything of ours is asked. Programs after the public guide have that fault; with this they run as they are written:
// docs/decisions.md, 54.
import cassandra from 'cassandra-driver'

const { execute } = cassandra.Client.prototype
cassandra.Client.prototype.execute = function (query, params, options) {
	return execute.call(this, query, params, { ...options, prepare: true })
}
