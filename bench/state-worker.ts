// One subject of bench:state in a process of its own: prints its figures as JSON. argv: subject, keys, directory for a store.

import { MemoryStateBackend, WriteBatch } from 'holdfast'
import { LmdbStateBackend } from 'holdfast/lmdb'
import {
  aggregating,
  defineState,
  float64,
  from,
  index,
  json,
  map,
  StateStore,
  struct,
  tuple,
  uint32,
  utf8,
  value,
} from 'holdfast/state'

/** Processor nanoseconds per call; `bytes` is resident memory per key. */
export interface StateFigures {
  ns: number
  bytes?: number
}

interface Event {
  readonly tokens: number
  readonly cost: number
}

interface Profile {
  readonly name: string
  readonly visits: number
  readonly tags: readonly string[]
}

const MAP_ENTRIES = 1_000

const schema = defineState({
  key: tuple(utf8, utf8),
  states: {
    totals: aggregating(struct({ count: uint32, tokens: float64, cost: float64 }), (total, event: Event) => {
      total.count++
      total.tokens += event.tokens
      total.cost += event.cost
    }),
    profile: value(json<Profile>()),
    hours: map(uint32, uint32),
  },
})

interface Place {
  readonly at: number
  readonly x: number
  readonly y: number
}
const place = struct({ at: uint32, x: float64, y: float64 })
/** Twenty of all keys are at each place. */
const placeOf = (i: number): Place => ({ at: Math.floor(i / 20), x: i, y: i })
const atPlace = index(uint32, ({ at }: Place) => at)
const plainPlaces = defineState({ key: tuple(utf8, utf8), states: { place: value(place) } })
const indexedPlaces = defineState({
  key: tuple(utf8, utf8),
  states: { place: value(place, { indexes: { atPlace } }) },
})
const migratedPlaces = defineState({
  key: tuple(utf8, utf8),
  states: {
    place: value(struct({ at: uint32, sum: float64, y: float64 }), {
      migrations: [from(place, ({ at, x, y }) => ({ at, sum: x + y, y }))],
    }),
  },
})

const [name = '', keysText = '0', directory = ''] = process.argv.slice(2)
const keyCount = Number(keysText)

/** 24 bytes: what an event brings along, made anew for each as a parser would. */
const modelOf = (i: number): string => `model-${i % 7}`
const tenantOf = (i: number): string => `tenant-${String(i).padStart(9, '0')}`

const profileOf = (i: number): Profile => ({ name: `user ${i}`, visits: i, tags: ['one', 'two', 'three'] })

let state = 0x9e3779b9
function random(below: number): number {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return (state >>> 0) % below
}

async function subject(): Promise<(i: number) => unknown> {
  const event: Event = { tokens: 3, cost: 0.5 }
  switch (name) {
    case 'add': {
      const store = await StateStore.open(new MemoryStateBackend(), schema)
      return (i) => store.totals.add([modelOf(i), tenantOf(i)], event)
    }
    case 'add on LMDB': {
      const store = await StateStore.open(await LmdbStateBackend.open({ path: directory }), schema)
      return (i) => store.totals.add([modelOf(i), tenantOf(i)], event)
    }
    case 'Map, mutated': {
      const totals = new Map<string, { count: number; tokens: number; cost: number }>()
      return (i) => {
        const key = `${modelOf(i)}\0${tenantOf(i)}`
        const total = totals.get(key)
        if (total === undefined) return totals.set(key, { count: 1, tokens: event.tokens, cost: event.cost })
        total.count++
        total.tokens += event.tokens
        total.cost += event.cost
        return total
      }
    }
    case 'Map, replaced': {
      const totals = new Map<string, { count: number; tokens: number; cost: number }>()
      return (i) => {
        const key = `${modelOf(i)}\0${tenantOf(i)}`
        const { count, tokens, cost } = totals.get(key) ?? { count: 0, tokens: 0, cost: 0 }
        return totals.set(key, { count: count + 1, tokens: tokens + event.tokens, cost: cost + event.cost })
      }
    }
    case 'by hand':
      return byHand(event)
    case 'json': {
      const store = await StateStore.open(new MemoryStateBackend(), schema)
      return (i) => {
        store.profile.put([modelOf(i), tenantOf(i)], profileOf(i))
        return store.profile.get([modelOf(i), tenantOf(i)])
      }
    }
    case 'Map of JSON': {
      const profiles = new Map<string, string>()
      return (i) => {
        profiles.set(`${modelOf(i)}\0${tenantOf(i)}`, JSON.stringify(profileOf(i)))
        return JSON.parse(profiles.get(`${modelOf(i)}\0${tenantOf(i)}`) ?? '') as Profile
      }
    }
    case 'map entry': {
      const store = await StateStore.open(new MemoryStateBackend(), schema)
      return (i) => store.hours.put([modelOf(0), tenantOf(0)], i % MAP_ENTRIES, i)
    }
    case 'map as JSON': {
      const backend = new MemoryStateBackend()
      const key = Buffer.from(tenantOf(0))
      const filled = Object.fromEntries(Array.from({ length: MAP_ENTRIES }, (_, i) => [i, i]))
      backend.putSync(key, Buffer.from(JSON.stringify(filled)))
      return (i) => {
        const hours = JSON.parse(Buffer.from(backend.getSync(key) ?? '').toString()) as {
          [hour: string]: number
        }
        hours[i % MAP_ENTRIES] = i
        backend.putSync(key, Buffer.from(JSON.stringify(hours)))
      }
    }
    case 'put': {
      const store = await StateStore.open(new MemoryStateBackend(), plainPlaces)
      return (i) => store.place.put([modelOf(i), tenantOf(i)], placeOf(i + moved++))
    }
    case 'put indexed, moved': {
      const store = await StateStore.open(new MemoryStateBackend(), indexedPlaces)
      return (i) => store.place.put([modelOf(i), tenantOf(i)], placeOf(i + moved++))
    }
    case 'put indexed': {
      const store = await StateStore.open(new MemoryStateBackend(), indexedPlaces)
      return (i) => store.place.put([modelOf(i), tenantOf(i)], { at: Math.floor(i / 20), x: moved++, y: 0 })
    }
    case 'three writes by hand':
      return threeWrites()
    case 'query of 20': {
      const store = await StateStore.open(new MemoryStateBackend(), indexedPlaces)
      for (let i = 0; i < keyCount; i++) store.place.put([modelOf(i), tenantOf(i)], placeOf(i))
      return (i) => [...store.place.query('atPlace', { eq: Math.floor(i / 20), limit: 20 })]
    }
    case 'read': {
      const store = await StateStore.open(new MemoryStateBackend(), plainPlaces)
      for (let i = 0; i < keyCount; i++) store.place.put([modelOf(i), tenantOf(i)], placeOf(i))
      return (i) => store.place.get([modelOf(i), tenantOf(i)])
    }
    case 'read old': {
      const store = await StateStore.open(await oldPlaces(), migratedPlaces)
      return (i) => store.place.get([modelOf(i), tenantOf(i)])
    }
    default:
      throw new Error(`no subject ${name}`)
  }
}

let moved = 0

function callsOf(): number {
  if (name === 'map as JSON') return 2_000
  return name.startsWith('query') ? 20_000 : 1_000_000
}

/** What an earlier version has written. */
async function oldPlaces(): Promise<MemoryStateBackend> {
  const backend = new MemoryStateBackend()
  const before = await StateStore.open(backend, plainPlaces)
  for (let i = 0; i < keyCount; i++) before.place.put([modelOf(i), tenantOf(i)], placeOf(i))
  return backend
}

/** Nanoseconds for each entry that is migrated eagerly. */
async function migrateAll(): Promise<number> {
  const store = await StateStore.open(await oldPlaces(), migratedPlaces)
  const before = process.cpuUsage()
  await store.migrate()
  const used = process.cpuUsage(before)
  return ((used.user + used.system) * 1_000) / keyCount
}

/** What an index costs the engine when its entry moves: a put of the entry, one of the new index entry, a delete of the old one. */
function threeWrites(): (i: number) => unknown {
  const backend = new MemoryStateBackend()
  const batch = new WriteBatch()
  const places = new Uint32Array(keyCount)
  const key = Buffer.alloc(64)
  const indexKey = Buffer.alloc(64)
  const written = new Uint8Array(20)
  const nothing = new Uint8Array(0)
  return (i) => {
    const middle = key.write(modelOf(i))
    key[middle] = 0
    const end = middle + 1 + key.write(tenantOf(i), middle + 1)
    key.copy(indexKey, 4, 0, end)
    const entry = { bytes: indexKey, offset: 0, length: end + 4 }
    batch.clear().put({ bytes: key, offset: 0, length: end }, written)
    indexKey.writeUInt32BE(places[i] as number)
    batch.delete(entry)
    places[i] = i + moved++
    indexKey.writeUInt32BE(places[i] as number)
    batch.put(entry, nothing)
    backend.writeSync(batch)
  }
}

/** What a user wrote before there was typed state. */
function byHand(event: Event): (i: number) => unknown {
  const backend = new MemoryStateBackend()
  const key = Buffer.alloc(64)
  const total = new Uint8Array(20)
  const view = new DataView(total.buffer)
  return (i) => {
    const middle = key.write(modelOf(i))
    key[middle] = 0
    const end = middle + 1 + key.write(tenantOf(i), middle + 1)
    const stored = backend.getSync(key.subarray(0, end))
    if (stored === undefined) total.fill(0)
    else total.set(stored)
    view.setUint32(0, view.getUint32(0, true) + 1, true)
    view.setFloat64(4, view.getFloat64(4, true) + event.tokens, true)
    view.setFloat64(12, view.getFloat64(12, true) + event.cost, true)
    backend.putSync(key.subarray(0, end), total)
  }
}

if (name === 'migrate') {
  process.stdout.write(JSON.stringify({ ns: await migrateAll() } satisfies StateFigures))
  process.exit()
}
const call = await subject()
globalThis.gc?.()
const residentBefore = process.memoryUsage().rss
// The one whose every call writes a thousand entries has one key only.
const isFilled = name === 'map as JSON' || name.startsWith('query') || name.startsWith('read')
for (let i = 0; i < (isFilled ? 1 : keyCount); i++) call(i)
globalThis.gc?.()
const bytes = (process.memoryUsage().rss - residentBefore) / keyCount
const calls = callsOf()
for (let i = 0; i < calls / 4; i++) call(random(keyCount))
const before = process.cpuUsage()
for (let i = 0; i < calls; i++) call(random(keyCount))
const used = process.cpuUsage(before)
const ns = ((used.user + used.system) * 1_000) / calls
process.stdout.write(JSON.stringify({ ns, bytes } satisfies StateFigures))
process.exit()
