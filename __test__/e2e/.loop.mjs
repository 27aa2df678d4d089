import { setTimeout as sleep } from 'node:timers/promises'
import { openOwnCluster } from '../support/faults.mjs'
import { until } from '../support/cluster.mjs'
import { drive } from '../support/cluster-drive.mjs'
import { effects } from '../support/checker.mjs'
import { diamond, NODES } from './flows.mjs'
import { runIds, scene } from './scene.mjs'
const { services, cluster } = await openOwnCluster()
try {
for (let i = 0; i < Number(process.env.N ?? 10); i++) {
  await scene(cluster, `loop_${i}`, { parameters: { nodeMs: 50 }, adapter: { leaseTtlMs: 3_000 } }, async ({ place, journal, worker }) => {
    const first = await worker('first')
    const second = await worker('second')
    await until('both have partitions', async () => (await second.health()).partitions.length > 0)
    const runs = runIds('run', 300)
    await drive(place, { blueprint: diamond, runs, patient: true, timeoutMs: 180_000, at: { 100: async () => { await services.kafka.stop(); await services.kafka.start() } } })
    const from = performance.now()
    let stuck
    await place.allCommitted({ timeoutMs: 120_000 }).catch((e) => { stuck = e })
    const ms = Math.round(performance.now() - from)
    const { doubled } = effects({ entries: journal.read(), runs, nodes: NODES })
    console.log(i, 'committed after', ms, 'ms; doubled', doubled.length, stuck ? 'STUCK' : '')
    if (stuck || ms > 10_000) console.log(stuck?.message, first.output, '\n------\n', second.output, JSON.stringify(await first.health()), JSON.stringify(await second.health()))
  })
}
} finally { await cluster.close(); await services.stop() }
process.exit()
