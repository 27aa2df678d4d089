/**
 * `docs/bad-input.md`, made of the table that the tests run. Without argument prints it; `--write` writes the file.
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { MESSAGES, OPTIONS, OTHERS, REQUESTS, RUNS, STARTS } from './bad-input-cases.mjs'
import { DOORS } from './bad-option-cases.mjs'

export const FILE = fileURLToPath(new URL('../../docs/bad-input.md', import.meta.url))

/** @param {string} text */
const cell = (text) => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

/** @param {string} text with backquotes around it, whatever is in it */
const code = (text) => (text.includes('`') ? `\`\` ${text} \`\`` : `\`${text}\``)

/** @param {string[]} head @param {string[][]} rows */
const table = (head, rows) =>
	[head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n')

const said = (/** @type {{ code: string | null, message: string }} */ { code: stable, message }) =>
	stable === null ? ['none', ''] : [code(stable), code(message)]

export const render = () => `# Bad input

What is refused, how it is said, and what happens to it. \`__test__/integration/bad-input.test.mjs\` runs every row on real
services and sees a good job complete afterwards; this page is made of its table
(\`node __test__/integration/bad-input-doc.mjs --write\`). In messages, \`<...>\` stands for what differs from case to case.

## Options

The constructor throws a \`KafkaAdapterError\`; nothing has been asked of any service.

${table(
	['option', 'code', 'message'],
	OPTIONS.map((row) => [row.input, ...said(row)]),
)}

### Without an adapter

What the call throws, or rejects with; nothing has been asked of any service.

${DOORS.map(
	({ name, rows }) => `\`${name}\`

${table(
	['option', 'code', 'message'],
	rows.map((row) => [row.input, ...said(row)]),
)}`,
).join('\n\n')}

## Services

\`start()\` rejects with a \`KafkaAdapterError\` and logs it once; nothing of ours keeps the process alive. After the cure
\`start()\` may be called again on the same adapter, and the jobs that lie on the topic are done.

${table(
	['case', 'code', 'message', 'cure'],
	STARTS.map((row) => [row.input, ...said(row), row.cure]),
)}

Where the group is the reason, \`start()\` waits, says so in the log and in \`health().troubles\`, and goes on by itself after
the cure.

${table(
	['case', 'code', 'message', 'cure'],
	Object.values(OTHERS).map((row) => [row.input, ...said(row), row.cure]),
)}

## Job messages

The message goes to the dead-letter topic (\`<topicName>.dead-letters\`): its own key, bytes and headers, and headers
\`flowcraft-code\`, \`flowcraft-reason\`, \`flowcraft-topic\`, \`flowcraft-partition\`, \`flowcraft-offset\`, \`flowcraft-time\` and,
where it could be read, \`flowcraft-run\`. Its offset is committed; the job behind it runs.

${table(
	['message', 'code', 'reason'],
	MESSAGES.map((row) => [row.input, ...said(row)]),
)}

## Runs

The job is well-formed, its run cannot be run. The message goes to the dead letters as above; the row of the run stays as it
is; a status is published where one is named.

${table(
	['case', 'code', 'reason', 'status'],
	RUNS.map((row) => [row.input, ...said(row), row.status ?? 'none']),
)}

## Requests to webhooks

\`handleWebhook\` answers with a status and \`{"error": ...}\`; the token is as good as before, and nothing reaches the run. These
rows run in \`__test__/integration/webhooks.test.mjs\`, as do tokens that are used or expired, which get 404.

${table(
	['request', 'status', 'error'],
	REQUESTS.map((row) => [row.input, `${row.status}`, code(row.error)]),
)}
`

if (process.argv[1] === fileURLToPath(import.meta.url)) {
	if (process.argv.includes('--write')) writeFileSync(FILE, render())
	else process.stdout.write(render())
}
