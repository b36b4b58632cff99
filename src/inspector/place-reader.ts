// What the page asks of a directory of checkpoints, or of a store: each answer has a bound, in entries, bytes and time, and says where it ended.

import {
  type CheckpointDifference,
  type CheckpointMetadata,
  type Clock,
  isStateError,
  type JsonValue,
  type KeyRange,
  type SkippedCheckpoint,
} from '../index.js'
import { bytesOfHex, describe, hexOf, type RecordedSchema } from '../state.js'
import {
  entriesIn,
  type OpenEntries,
  openCheckpoint,
  openEntries,
  recordedIn,
  type StoredEntry,
  soughtEntries,
} from '../view/entries.js'
import { bytesFrom, checkState } from '../view/key-arguments.js'
import {
  type CheckpointPlace,
  chosenCheckpoint,
  chosenOf,
  listedCheckpoints,
  type Place,
  sequenceIn,
} from '../view/place.js'
import { EntryDisplay } from '../view/shown-entry.js'
import { Survey } from '../view/survey.js'
import { UsageError } from '../view/usage-error.js'
import { cutEntry, hasText, type InspectedEntry, inspectedEntry, wholeEntry } from './inspected-entry.js'
import { orAborted } from './or-aborted.js'
import { Turns } from './turns.js'

/** Entries on one page. */
const PAGE_ENTRIES = 200
/** A search ends after so long with what it has found, and where to go on. */
const SEARCH_MS = 1_000
/** A comparison, and a survey, tell of what they came to in this time. */
const SURVEY_MS = 15_000
/** Differing entries that are shown; all are counted. */
const SHOWN_DIFFERENCES = 500
const LARGEST = 20
/** Pairs of checkpoints that are compared to find what changes most. */
const HOT_PAIRS = 5
/** Keys that are counted; those that come after these are left out, and the answer says so. */
const HOT_KEYS = 20_000
/** Surveys that are kept: a checkpoint does not change. */
const MAX_KEPT = 16
/** So many answers are made at the same time; others wait. */
const READERS = 2

type JsonObject = { readonly [name: string]: JsonValue }

/** Checkpoints that cannot be read, each once. */
class Skipped {
  readonly #byId = new Map<string, SkippedCheckpoint>()

  readonly add = (skipped: SkippedCheckpoint): void => void this.#byId.set(skipped.id, skipped)

  get shown(): JsonValue[] {
    return [...this.#byId.values()].map(shownSkipped)
  }
}

const shownSkipped = ({ id, code, reason }: SkippedCheckpoint): JsonObject => ({ id, code, reason })

export class PlaceReader {
  readonly place: Place
  readonly #surveys = new Map<string, JsonObject>()
  readonly #clock: Clock
  readonly #waiting = new Set<() => void>()
  /** What is being read, also for those who have been given up. */
  readonly #underWay = new Set<Promise<unknown>>()
  #reading = 0

  constructor(place: Place, clock: Clock) {
    this.place = place
    this.#clock = clock
  }

  /**
   * The answer to a question; `undefined` where there is none of that name. Rejects as soon as the signal fires: a storage that does not
   * answer keeps neither who asks nor who comes after.
   */
  async answer(name: string, query: URLSearchParams, signal: AbortSignal): Promise<JsonValue | undefined> {
    const answer = Object.hasOwn(ANSWERS, name) ? ANSWERS[name] : undefined
    if (answer === undefined) return undefined
    while (this.#reading >= READERS) await this.#untilSomebodyEnds(signal)
    this.#reading++
    try {
      signal.throwIfAborted()
      const reading = answer(this, query, signal)
      this.#underWay.add(reading)
      const end = () => this.#underWay.delete(reading)
      reading.then(end, end)
      return await orAborted(reading, signal)
    } finally {
      this.#reading--
      // All of them: who is woken may have been given up.
      for (const wake of this.#waiting) wake()
    }
  }

  /** Resolves when nothing is being read any more, whatever becomes of it. */
  async ended(): Promise<void> {
    await Promise.allSettled(this.#underWay)
  }

  async #untilSomebodyEnds(signal: AbortSignal): Promise<void> {
    let wake = () => {}
    const woken = new Promise<void>((resolve) => {
      wake = resolve
    })
    this.#waiting.add(wake)
    try {
      await orAborted(woken, signal)
    } finally {
      this.#waiting.delete(wake)
    }
  }

  /** Whether the walk came to its end before `SURVEY_MS` were over. */
  async isWholeInTime(signal: AbortSignal, walk: (signal: AbortSignal) => Promise<void>): Promise<boolean> {
    const limit = new AbortController()
    const cancelLimit = this.#clock.setTimer(() => limit.abort(), SURVEY_MS)
    try {
      await walk(AbortSignal.any([signal, limit.signal]))
      return !limit.signal.aborted
    } catch (error) {
      if (limit.signal.aborted && !signal.aborted && isStateError(error, 'ABORTED')) return false
      throw error
    } finally {
      cancelLimit()
    }
  }

  /** The checkpoints; `UsageError` where it is a store. */
  get checkpoints(): CheckpointPlace {
    if (this.place.kind === 'checkpoints') return this.place
    throw new UsageError(`${this.place.path} is a store, and has no checkpoints`)
  }

  /** Reads what the query names, and lets go of it. Where it names nothing, the answer tells what is newer than that, and cannot be read. */
  async withEntries(
    query: URLSearchParams,
    read: (entries: OpenEntries) => Promise<JsonObject>,
  ): Promise<JsonObject> {
    const newer = new Skipped()
    const entries = await openEntries(this.place, query.get('id') ?? undefined, { onNewer: newer.add })
    try {
      return { ...(await read(entries)), newer: newer.shown }
    } finally {
      await entries.close()
    }
  }

  /** A survey that was made before, or a new one. What did not come to its end, and what a store has, is made anew. */
  async surveyOf(label: string, make: () => Promise<JsonObject & { isWhole: boolean }>): Promise<JsonObject> {
    const kept = this.#surveys.get(label)
    if (kept !== undefined) return kept
    const survey = await make()
    if (survey.isWhole && this.place.kind === 'checkpoints') {
      this.#surveys.set(label, survey)
      const [oldest] = this.#surveys.keys()
      if (this.#surveys.size > MAX_KEPT && oldest !== undefined) this.#surveys.delete(oldest)
    }
    return survey
  }
}

type AnswerTo = (reader: PlaceReader, query: URLSearchParams, signal: AbortSignal) => Promise<JsonValue>

const ANSWERS: { readonly [name: string]: AnswerTo | undefined } = {
  checkpoints,
  about,
  entries: entriesPage,
  entry: oneEntry,
  diff,
  survey,
  hot,
}

async function checkpoints(
  reader: PlaceReader,
  _query: URLSearchParams,
  signal: AbortSignal,
): Promise<JsonValue> {
  const { listed, skipped } = await listedCheckpoints(reader.checkpoints, signal)
  return { checkpoints: listed.map(shownCheckpoint), skipped: skipped.map(shownSkipped) }
}

const shownCheckpoint = (checkpoint: CheckpointMetadata): JsonObject => ({
  id: checkpoint.id,
  createdAtMs: checkpoint.createdAt.getTime(),
  kind: checkpoint.savepoint ? 'savepoint' : checkpoint.kind,
  entryCount: checkpoint.entryCount,
  sizeBytes: checkpoint.sizeBytes,
  isTyped: checkpoint.schema !== undefined,
})

/** What a checkpoint, or a store, says of itself: of a checkpoint the manifest alone, which says it also where the files are damaged. */
async function about(reader: PlaceReader, query: URLSearchParams): Promise<JsonValue> {
  if (reader.place.kind === 'store')
    return await reader.withEntries(query, async ({ label, schema, clockMs, entryCount }) => {
      return { label, clockMs, entryCount, schema: schema === undefined ? null : shownSchema(schema) }
    })
  const newer = new Skipped()
  const checkpoint = await chosenCheckpoint(reader.checkpoints, query.get('id') ?? undefined, newer.add)
  const manifest = await reader.checkpoints.archive.manifest(checkpoint.id)
  const { schema, clockMs } = manifest
  return {
    label: `checkpoint ${checkpoint.id}`,
    clockMs,
    schema: schema === undefined ? null : shownSchema(recordedIn(schema)),
    ...shownCheckpoint(checkpoint),
    engine: manifest.backend,
    compression: manifest.compression,
    version: manifest.holdfast,
    source: manifest.source ?? null,
    segments: manifest.segments.map(({ name, role, entryCount: count, sizeBytes, rawBytes, sha256 }) => {
      return { name, role, entryCount: count, sizeBytes, rawBytes, sha256 }
    }),
    newer: newer.shown,
  }
}

function shownSchema(schema: RecordedSchema): JsonValue {
  const { key, keyGroups, states } = describe(schema)
  return { key, keyGroups, states: JSON.parse(JSON.stringify(states)) as JsonValue }
}

/** Where a page begins, or the next one goes on. */
function rangeOf(query: URLSearchParams): KeyRange {
  const [prefix, from, to, after] = ['prefix', 'from', 'to', 'after'].map((name) => query.get(name) ?? '')
  const afterKey = after === '' ? undefined : bytesOfHex(after ?? '')
  if (after !== '' && afterKey === undefined)
    throw new UsageError('after is to be a key, in hexadecimal digits')
  return {
    ...(prefix === '' ? {} : { prefix: bytesFrom(prefix ?? '') }),
    ...(to === '' ? {} : { lt: bytesFrom(to ?? '') }),
    ...(afterKey === undefined ? (from === '' ? {} : { gte: bytesFrom(from ?? '') }) : { gt: afterKey }),
  }
}

/** A page of entries: those in range, of a state, that have a text somewhere. */
async function entriesPage(
  reader: PlaceReader,
  query: URLSearchParams,
  signal: AbortSignal,
): Promise<JsonValue> {
  return await reader.withEntries(query, async (entries) => {
    const state = query.get('state') ?? ''
    const text = (query.get('text') ?? '').toLowerCase()
    if (state !== '') checkState(entries, state)
    const display = new EntryDisplay(entries.schema, 'auto')
    const turns = new Turns(SEARCH_MS)
    const found: JsonValue[] = []
    let examined = 0
    let next: string | null = null
    let last: Uint8Array | undefined
    for await (const entry of soughtEntries(entries, rangeOf(query), signal)) {
      if ((found.length === PAGE_ENTRIES || turns.isOver) && last !== undefined) {
        next = hexOf(last)
        break
      }
      await turns.next()
      examined++
      last = entry.key.slice()
      const whole = wholeEntry(display, entry)
      if (whole === undefined || (state !== '' && whole.state !== state) || !hasText(whole, text)) continue
      found.push({ ...cutEntry(whole, 'listed') })
    }
    return { entries: found, examined, next, tellsExpiry: entries.seek === undefined }
  })
}

/** All of one entry. */
async function oneEntry(
  reader: PlaceReader,
  query: URLSearchParams,
  signal: AbortSignal,
): Promise<JsonValue> {
  const key = bytesOfHex(query.get('key') ?? '')
  if (key === undefined) throw new UsageError('key is to be a key, in hexadecimal digits')
  return await reader.withEntries(query, async (entries) => {
    const display = new EntryDisplay(entries.schema, 'auto')
    const until = new Uint8Array([...key, 0])
    for await (const entry of soughtEntries(entries, { gte: key, lt: until }, signal)) {
      return { entry: { ...inspectedEntry(display, entry, 'whole') } }
    }
    return { entry: null }
  })
}

interface Counts {
  added: number
  removed: number
  changed: number
}

/** What differs between two checkpoints: all is counted, the first ones are shown. */
async function diff(reader: PlaceReader, query: URLSearchParams, signal: AbortSignal): Promise<JsonValue> {
  const place = reader.checkpoints
  const [a, b] = [query.get('a') ?? undefined, query.get('b') ?? undefined]
  const there = await listedCheckpoints(place, signal)
  const newer = new Skipped()
  const [before, after] = [a, b].map((id) => chosenOf(place, there, id, newer.add)) as [
    CheckpointMetadata,
    CheckpointMetadata,
  ]
  const state = query.get('state') ?? ''
  const entries = await openCheckpoint(place, after)
  try {
    const display = new EntryDisplay(entries.schema, 'auto')
    const turns = new Turns()
    const counts = new Map<string, Counts>()
    const shown: JsonValue[] = []
    const range = rangeOf(query)
    // By a signal: where little differs, much is read between two differences.
    const isWhole = await reader.isWholeInTime(signal, async (limited) => {
      const differing = place.archive.diff(before.id, after.id, { ...range, signal: limited })
      for await (const difference of differing) {
        if (limited.aborted) break
        await turns.next()
        const each = shownDifference(display, difference)
        if (each === undefined || (state !== '' && each.state !== state)) continue
        const counted = counts.get(each.state) ?? { added: 0, removed: 0, changed: 0 }
        counted[difference.kind]++
        counts.set(each.state, counted)
        if (shown.length < SHOWN_DIFFERENCES) shown.push({ ...each })
      }
    })
    return {
      a: shownCheckpoint(before),
      b: shownCheckpoint(after),
      counts: [...counts].map(([name, counted]) => ({ state: name, ...counted })),
      differences: shown,
      isWhole,
      newer: newer.shown,
    }
  } finally {
    await entries.close()
  }
}

interface ShownDifference {
  readonly kind: string
  readonly state: string
  readonly key: JsonValue
  readonly mapKey: JsonValue
  readonly before: JsonValue
  readonly after: JsonValue
}

function shownDifference(
  display: EntryDisplay,
  { kind, key, before, after }: CheckpointDifference,
): ShownDifference | undefined {
  const was = before === undefined ? undefined : inspectedEntry(display, { key, ...before })
  const is = after === undefined ? undefined : inspectedEntry(display, { key, ...after })
  const either = is ?? was
  if (either === undefined) return undefined
  return {
    kind,
    state: either.state ?? '',
    key: either.key,
    mapKey: either.mapKey ?? either.place ?? null,
    before: was === undefined ? null : partOf(was),
    after: is === undefined ? null : partOf(is),
  }
}

const partOf = ({ value, expiresAt, bytes }: InspectedEntry): JsonValue => ({
  value,
  expiresAt: expiresAt ?? null,
  bytes,
})

/** What is large, how long it lives, and how it is spread. */
async function survey(reader: PlaceReader, query: URLSearchParams, signal: AbortSignal): Promise<JsonValue> {
  return await reader.withEntries(query, async (entries) => {
    return await reader.surveyOf(entries.label, async () => {
      const { schema, clockMs } = entries
      const turns = new Turns(SURVEY_MS)
      const made = new Survey(schema, clockMs, ':', LARGEST)
      let isWhole = true
      for await (const entry of entriesIn(entries, {}, signal)) {
        if (turns.isOver) {
          isWhole = false
          break
        }
        await turns.next()
        made.add(entry)
      }
      return { isWhole, ...shownSurvey(made, schema) }
    })
  })
}

function shownSurvey(made: Survey, schema: RecordedSchema | undefined): JsonObject {
  const display = new EntryDisplay(schema, 'auto')
  const keyGroups = schema?.keyGroups ?? 0
  const mortal = [...made.lives.values()].reduce((sum, entries) => sum + entries, 0)
  return {
    ...made.all,
    parts: made.sortedParts.slice(0, 100).map(([name, tally]) => ({ name, ...tally })),
    lives: [...made.lives, ['for ever', made.all.entries - mortal] as const].map(([name, entries]) => {
      return { name, entries }
    }),
    largest: made.largest.map(({ key, value, bytes }) => {
      const shown = inspectedEntry(display, { key, value, expiresAtMs: Infinity })
      return { state: shown?.state ?? '', key: shown?.key ?? hexOf(key), rawKey: hexOf(key), bytes }
    }),
    keyGroups: Array.from({ length: keyGroups }, (_, group) => made.groups.get(group)?.entries ?? 0),
    spread: keyGroups === 0 || made.groups.size === 0 ? null : { ...made.spread() },
  }
}

/**
 * The keys that differ between most of the last checkpoints: what changes all the time. Those that cannot be read are left out, and told
 * of: `between`, where one lies between two that are compared.
 */
async function hot(reader: PlaceReader, query: URLSearchParams, signal: AbortSignal): Promise<JsonValue> {
  const place = reader.checkpoints
  const there = await listedCheckpoints(place, signal)
  const { listed, skipped } = there
  const newer = new Skipped()
  const first = chosenOf(place, there, query.get('id') ?? undefined, newer.add)
  const from = listed.indexOf(first)
  const compared = listed.slice(from, from + HOT_PAIRS + 1)
  const oldest = compared.at(-1) ?? first
  const between = new Skipped()
  for (const each of skipped) {
    const sequence = sequenceIn(each.id)
    if (sequence < first.sequence && sequence > oldest.sequence) between.add(each)
  }
  const turns = new Turns()
  const changes = new Map<string, number>()
  let isAllCounted = true
  let pairs = 0
  const isInTime = await reader.isWholeInTime(signal, async (limited) => {
    for (const [i, after] of compared.entries()) {
      const before = compared[i + 1]
      if (before === undefined || limited.aborted) break
      pairs++
      for await (const { key } of place.archive.diff(before.id, after.id, { signal: limited })) {
        if (limited.aborted) break
        await turns.next()
        const name = hexOf(key)
        const known = changes.get(name)
        if (known !== undefined || changes.size < HOT_KEYS) changes.set(name, (known ?? 0) + 1)
        else isAllCounted = false
      }
    }
  })
  const isWhole = isInTime && isAllCounted
  const hottest = [...changes].sort(([, left], [, right]) => right - left).slice(0, LARGEST)
  const entries = await openCheckpoint(place, first)
  try {
    const display = new EntryDisplay(entries.schema, 'auto')
    const keys: JsonValue[] = []
    for (const [name, count] of hottest) {
      const key = bytesOfHex(name) ?? new Uint8Array(0)
      const value = await entries.get(key)
      const entry: StoredEntry = { key, value: value ?? new Uint8Array(0), expiresAtMs: Infinity }
      const shown = inspectedEntry(value === undefined ? new EntryDisplay(undefined, 'auto') : display, entry)
      if (shown === undefined) continue
      keys.push({
        state: shown.state ?? display.stateOfKey(key) ?? '',
        key: shown.key,
        mapKey: shown.mapKey ?? shown.place ?? null,
        rawKey: name,
        changes: count,
      })
    }
    return { keys, pairs, isWhole, newer: newer.shown, between: between.shown }
  } finally {
    await entries.close()
  }
}
