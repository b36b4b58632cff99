// How much private memory the engine takes for a store that is much larger; prints its figures as JSON.

import { readFileSync } from 'node:fs'
import { LmdbStateBackend } from 'holdfast/lmdb'
import { CACHE_BYTES } from './lmdb-subjects.js'

export interface MemoryFigures {
  /** Largest resident private memory of the whole process: the mapped file's pages are the system's. */
  readonly maxRssAnonBytes: number
  readonly seconds: number
}

const [entriesText, path] = process.argv.slice(2) as [string, string]
const entries = Number(entriesText)
const UPDATES = 1_000_000
const WRITES_BETWEEN_LOOKS = 20_000

const key = Buffer.alloc(30, 'k')
const value = Buffer.alloc(100, 'v')
let maxRssAnonBytes = 0
let writes = 0

function look(): void {
  const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  maxRssAnonBytes = Math.max(maxRssAnonBytes, Number(kilobytes) * 1024)
}

await using backend = await LmdbStateBackend.open({ path, cacheBytes: CACHE_BYTES })

async function put(i: number): Promise<void> {
  key.write(`${i}`.padStart(20, '0'), 0, 'latin1')
  value.writeUInt32LE(writes, 0)
  await backend.put(key, value)
  if (++writes % WRITES_BETWEEN_LOOKS === 0) look()
}

const startedAt = performance.now()
// In an order without locality: the multiplier shares no factor with the count.
for (let i = 0; i < entries; i++) await put(Number((BigInt(i) * 2_654_435_761n) % BigInt(entries)))
for (let i = 0; i < UPDATES; i++) await put(Math.floor(Math.random() * entries))
await backend.flush()
look()
const figures: MemoryFigures = { maxRssAnonBytes, seconds: (performance.now() - startedAt) / 1_000 }
console.log(JSON.stringify(figures))
