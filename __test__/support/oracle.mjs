export { published, runInMemory } from '../oracle/comparator.mjs'
