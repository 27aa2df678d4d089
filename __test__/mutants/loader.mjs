/** `node --import ./__test__/mutants/loader.mjs ...` with the name of a fault of the glue in FLOWCRAFT_MUTANT. */
import { register } from 'node:module'

register('./hooks.mjs', import.meta.url, { data: { name: process.env.FLOWCRAFT_MUTANT } })
