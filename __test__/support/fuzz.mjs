import fc from 'fast-check'
import { arbitrarySpec, buildBlueprint } from './random-blueprints.mjs'
import { compare, compareWithKills } from './differential.mjs'
const [profile = 'wave', runs = '200', seed, path] = process.argv.slice(2)
const opts = JSON.parse(process.env.OPTS ?? '{}')
let compared = 0, skipped = 0
await fc.assert(fc.asyncProperty(arbitrarySpec(profile, process.env.KILLS ? { racing: false } : {}), async (spec) => { const t = Date.now(); const timer = setInterval(() => { if (Date.now() - t < 5000) console.log('SLOW', JSON.stringify(spec)) }, 4000); try { if (await (process.env.KILLS ? compareWithKills : compare)(spec, opts)) compared++; else skipped++ } finally { clearInterval(timer); if (!process.env.KILLS && Date.now()-t > 3000) { console.log('SLOW', Date.now()-t, JSON.stringify(spec)); process.exit(1) } } }), { numRuns: +runs, ...(seed ? { seed: +seed } : {}), ...(path ? { path } : {}), endOnFailure: false })
  .catch((e) => { console.log(e.message.slice(0, 6000)); console.log(String(e.cause?.stack).slice(0,6000)); process.exit(1) })
console.log('ok', compared, skipped)
