// Prints how many bytes a call allocates, by name. argv: the folder of the build, and how many calls are counted.

import { pathToFileURL } from 'node:url'

const built = (name) => import(`${pathToFileURL(process.argv[2])}/${name}`)
const { MemoryStateBackend } = await built('index.js')
const { aggregating, defineState, float64, int32, int64, StateStore, struct, uint32, value } =
  await built('state.js')

const { boundStatesOf } = await built('state/store.js')

const total = struct({ count: uint32, tokens: uint32, level: int32 })
const sum = struct({ count: int64, cost: float64 })
const store = await StateStore.open(
  new MemoryStateBackend(),
  defineState({
    key: uint32,
    states: {
      totals: aggregating(total, (state, event) => {
        state.count++
        state.tokens += event.tokens
        state.level += event.level
      }),
      sums: aggregating(sum, (state, event) => {
        state.count += event.many
        state.cost += event.cost
      }),
      calls: aggregating(uint32, (count, by) => count + by),
      level: value(uint32),
      place: value(struct({ x: float64 })),
    },
  }),
)

const count = Number(process.argv[3])
const KEYS = 1_000
const encoded = Array.from({ length: KEYS }, (_, i) => store.key(i))
const event = { tokens: 3, level: -2, many: 5e9, cost: 0.25 }
const move = (place) => {
  place.x += 1.5
}
const next = (level) => ((level ?? 0) + 1) | 0
let kept
const bound = boundStatesOf(store)
const states = bound.states

const calls = {
  'add to a struct': (i) => store.totals.add(i % KEYS, event),
  'add to a struct by an encoded key': (i) => store.totals.add(encoded[i % KEYS], event),
  'add to a struct of 64-bit numbers': (i) => store.sums.add(i % KEYS, event),
  'add to a struct of 64-bit numbers by an encoded key': (i) => store.sums.add(encoded[i % KEYS], event),
  // With `?.` what is compared would be a number or nothing, which a number must become an object for.
  'view a struct of 64-bit numbers': (i) => {
    const seen = store.sums.view(i % KEYS)
    return seen !== undefined && seen.cost === i
  },
  'add to a number': (i) => store.calls.add(i % KEYS, 1),
  'update a struct': (i) => store.place.update(i % KEYS, move),
  'update a number': (i) => store.level.update(i % KEYS, next),
  'put a number': (i) => store.level.put(i % KEYS, i),
  'get a number': (i) => store.level.get(i % KEYS) === i,
  'view a struct': (i) => store.totals.view(i % KEYS)?.count === i,
  'add to a struct of the key at hand': (i) => {
    bound.key.set(i % KEYS)
    states.totals.add(event)
  },
  'a call that makes an object': (i) => {
    kept = { i }
  },
}

const repeat = (call, times) => {
  for (let i = 0; i < times; i++) call(i)
}

const bytesPerCall = {}
for (const [name, call] of Object.entries(calls)) {
  // What is counted is code that is compiled: the least of several rounds, until one makes nothing.
  let least = Infinity
  for (let round = 0; round < 12 && least >= 0.5; round++) {
    globalThis.gc()
    const before = process.memoryUsage().heapUsed
    repeat(call, count)
    least = Math.min(least, (process.memoryUsage().heapUsed - before) / count)
  }
  bytesPerCall[name] = least
}
process.stdout.write(JSON.stringify(bytesPerCall))
if (kept === undefined) process.exitCode = 1
