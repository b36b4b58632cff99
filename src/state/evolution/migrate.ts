// Eager migration: what earlier versions have written becomes what the present one writes, in slices, beside the program.
//
// (1) A page of entries is migrated in one step: what was migrated is under the present id, what was not under the former one, so
//     a migration that was interrupted goes on with what is left.
// (2) An entry that was written anew meanwhile is not touched: the former one went with that write.
// (3) The record says that nothing is left only when nothing is.

import type { StateBackend } from '../../backend/state-backend.js'
import type { PutOptions } from '../../backend/types.js'
import { StateError } from '../../base/errors.js'
import { nextTurn } from '../../base/slices.js'
import { Slot } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../codec/bytes.js'
import type { Codec, KeyCodec } from '../codec/codec.js'
import type { Host } from '../entries/host.js'
import { PRESENT } from '../entries/state-entries.js'
import { GivenKey, readerBehindPrefix, statePrefix } from '../key/stored-key.js'
import { EntryListState } from '../kinds/list-state.js'
import { EntryMapState } from '../kinds/map-state.js'
import type { OpenState } from '../open-state.js'
import { isWhole, stepsFrom } from '../schema/compare-schema.js'
import type { KeyMigration, StateSchema } from '../schema/define-state.js'
import { isStamped, type RecordedGeneration } from '../schema/recorded-schema.js'
import { STAMP_BYTES } from '../time/event-expiry.js'
import { type RawEntry, rawPages, timeOf } from './raw-pages.js'

/** How far a migration has come. */
export interface MigrateProgress {
  /** The state that is being worked on. */
  readonly state: string
  /** Entries of it that were looked at so far. */
  readonly entries: number
}

/** What `migrate` does beyond what must be done, and who is told of it meanwhile. */
export interface MigrateOptions {
  /**
   * Whether entries that were written under another time to live get the present one, counted from now (L5). Default false:
   * they keep the time that they have.
   */
  readonly ttl?: boolean
  /** Builds all indices anew, also those that are complete: after key groups were restored from another store. Default false. */
  readonly indexes?: boolean
  /** Ends it with `ABORTED` between two pages; what was migrated stays so. */
  readonly signal?: AbortSignal
  /** Called after every page. */
  readonly onProgress?: (progress: MigrateProgress) => void
}

export interface MigratedStore {
  readonly backend: StateBackend
  readonly host: Host
  readonly schema: StateSchema
  readonly keyGroups: number
}

/** What all steps of a migration of one state share. */
export class StateMigration {
  readonly #store: MigratedStore
  readonly #open: OpenState
  readonly #options: MigrateOptions
  readonly #slot = new Slot()
  readonly #value = new ByteWriter()
  #entries = 0

  constructor(store: MigratedStore, open: OpenState, options: MigrateOptions) {
    this.#store = store
    this.#open = open
    this.#options = options
  }

  /** Moves everything that former generations have left under the present id. */
  async finishFormers(): Promise<void> {
    const { definition, recorded, entries } = this.#open
    for (const generation of recorded.former ?? []) {
      if (isWhole(definition, generation)) await this.#moveWhole(generation)
      else await this.#moveEntries(generation)
      await this.#removeLeftovers(generation.id)
    }
    entries.forgetFormers()
  }

  /** Gives every entry the present time to live, from now on. */
  async renewTtl(): Promise<void> {
    const { entries, recorded } = this.#open
    await this.#each(recorded.id, false, (entry) => {
      const key = new GivenKey(entry.key)
      if (entries.peek(key, this.#slot) !== PRESENT) return
      const { bytes, offset, length } = this.#slot
      entries.putAs(
        key,
        this.#written(bytes.subarray(offset, offset + length)),
        this.#putOptions(),
        undefined,
      )
    })
  }

  /** Makes the entries of every index that lacks some. */
  async buildIndexes(): Promise<void> {
    const { entries, recorded, definition } = this.#open
    const { host } = this.#store
    for (const index of entries.indexes) {
      if (index.isBuilt && this.#options.indexes !== true) continue
      index.isBuilt = false
      await this.#inOneStep([index], ({ range }) => host.entries.removeRange(range.gte, range.lt))
      const expires = definition.ttl !== undefined && !entries.isStamped
      await this.#each(recorded.id, expires, (entry, nowMs) => {
        entries.indexEntry(new GivenKey(entry.key), index, this.#remaining(entry, nowMs))
      })
      index.isBuilt = true
    }
  }

  async #moveEntries(generation: RecordedGeneration): Promise<void> {
    const { entries, recorded, definition } = this.#open
    const place = entries.formers.findIndex(({ id }) => id === generation.id)
    const expires = generation.ttl !== undefined && !isStamped(generation) && definition.ttl?.time !== 'event'
    await this.#each(generation.id, expires && definition.ttl !== undefined, (entry, nowMs) => {
      const host = this.#store.host.entries
      const key = new GivenKey(entry.key)
      // It may run again, from where it was stopped for something to be fetched.
      key.setState(generation.id)
      // Written or removed since it was scanned.
      if (!host.peek(key, this.#slot)) return
      key.setState(recorded.id)
      const isNewer = host.peek(key, this.#slot)
      key.setState(generation.id)
      const shown = isNewer ? undefined : entries.shown([entry.key, entry.value, place + 1])
      if (shown === undefined) {
        host.remove(key)
        return
      }
      const value =
        this.#isHead(entry.key) || shown.generation === PRESENT
          ? this.#written(shown.bytes)
          : this.#migrated(entry.key, shown.bytes, place + 1)
      const isKept = isStamped(generation) && entries.isStamped
      const stamp = isKept ? entries.stampIn(entry.key, entry.value) : undefined
      key.setState(recorded.id)
      entries.putAs(key, value, this.#remaining(entry, nowMs), stamp)
    })
  }

  /** A value that is written as it is. */
  #written(bytes: Uint8Array): ByteWriter {
    const to = this.#value
    to.length = 0
    to.append(bytes)
    return to
  }

  /** Whether it is the entry of a list that says where its elements are: that has no value of the codec. */
  #isHead(storedKey: Uint8Array): boolean {
    if (this.#open.definition.kind !== 'list') return false
    const reader = readerBehindPrefix(storedKey)
    const { context } = this.#open
    context.readKey(reader, context.keyCodec, 'head')
    return reader.rest() === 0
  }

  #migrated(storedKey: Uint8Array, bytes: Uint8Array, generation: number): ByteWriter {
    return this.#open.state.migrated(bytes, generation, storedKey)
  }

  /** Moves everything under each key together: another kind, another map key, another key. */
  async #moveWhole(generation: RecordedGeneration): Promise<void> {
    const { context } = this.#open
    const { migrateKey } = this.#store.schema
    const keyCodec = (
      generation.key === undefined ? context.keyCodec : (migrateKey as KeyMigration).from
    ) as KeyCodec<unknown>
    let keyBytes = ''
    let key: unknown
    let content: RawEntry[] = []
    await this.#pages(generation.id, false, async (page) => {
      for (const entry of page) {
        const reader = readerBehindPrefix(entry.key)
        const next = context.readKey(reader, keyCodec, 'head')
        const nextBytes = Buffer.from(entry.key.subarray(0, reader.position)).toString('latin1')
        if (nextBytes !== keyBytes && content.length > 0) {
          await this.#moveKey(generation, keyCodec, key, content)
          content = []
        }
        keyBytes = nextBytes
        key = next
        content.push(entry)
      }
    })
    if (content.length > 0) await this.#moveKey(generation, keyCodec, key, content)
  }

  async #moveKey(
    generation: RecordedGeneration,
    keyCodec: KeyCodec<unknown>,
    oldKey: unknown,
    raw: readonly RawEntry[],
  ): Promise<void> {
    const { host, schema } = this.#store
    const key =
      generation.key === undefined ? oldKey : (schema.migrateKey as KeyMigration).apply(oldKey as never)
    const before = this.#contentOf(generation, keyCodec, raw)
    const content = before === undefined ? undefined : this.#applySteps(generation, before)
    const writes = content === undefined ? [] : await this.#writesOf(key, content)
    const remove = () => {
      for (const entry of raw) host.entries.remove(new GivenKey(entry.key))
    }
    if (host.later === undefined) {
      host.batch(() => {
        for (const write of writes) write()
        remove()
      })
      return
    }
    const { later } = host
    await host.batch(async () => {
      for (const write of writes) await write()
      await later.write(remove)
    })
  }

  /** What a former generation holds under one key; `undefined` where all of it has expired. */
  #contentOf(generation: RecordedGeneration, keyCodec: KeyCodec<unknown>, raw: readonly RawEntry[]): unknown {
    const { definition, context } = this.#open
    const [step] = stepsFrom(definition, generation.version ?? 1)
    const form = step ?? definition
    const codec = form.codec as unknown as Codec<unknown>
    const decode = (bytes: Uint8Array) => {
      const reader = new ByteReader().fromBytes(bytes)
      const value = codec.read(reader)
      reader.assertEnd()
      return value
    }
    const { watermarkMs } = this.#open.entries
    const bytesOf = ({ key, value }: RawEntry) => {
      if (!isStamped(generation)) return value
      return this.#open.entries.stampIn(key, value) <= watermarkMs ? undefined : value.subarray(STAMP_BYTES)
    }
    const items: unknown[] = []
    let list = { first: 0, end: 0 }
    for (const entry of raw) {
      const reader = readerBehindPrefix(entry.key)
      const key = context.readKey(reader, keyCodec, 'head')
      const bytes = bytesOf(entry)
      if (bytes === undefined) continue
      try {
        if (form.kind === 'list') {
          if (reader.rest() === 0) {
            list = headOf(bytes)
            continue
          }
          const at = reader.take(8)
          const place = reader.view.getUint32(at) * 2 ** 32 + reader.view.getUint32(at + 4)
          if (place >= list.first && place < list.end) items.push(decode(bytes))
        } else if (form.kind === 'map') {
          const mapKey = (form.mapKey as unknown as KeyCodec<unknown>).readKey(reader)
          items.push([mapKey, decode(bytes)])
        } else {
          return decode(bytes)
        }
      } catch (error) {
        throw context.failureOf('read', error, key)
      }
    }
    return items.length === 0 ? undefined : items
  }

  #applySteps(generation: RecordedGeneration, content: unknown): unknown {
    const { definition } = this.#open
    let value = content
    let { kind } = generation
    const steps = stepsFrom(definition, generation.version ?? 1)
    for (const [i, step] of steps.entries()) {
      const nextKind = steps[i + 1]?.kind ?? definition.kind
      if (step.isWhole || (kind !== 'list' && kind !== 'map')) value = step.apply(value)
      else if (kind === 'list') value = (value as unknown[]).map((item) => step.apply(item))
      else value = (value as [unknown, unknown][]).map(([mapKey, item]) => [mapKey, step.apply(item)])
      kind = nextKind
    }
    return value
  }

  /** The calls that write all of a content under a key, merged with what is there. */
  async #writesOf(key: unknown, content: unknown): Promise<(() => unknown)[]> {
    const { state, definition, name } = this.#open
    if (state instanceof EntryListState) return [() => state.append(key, ...(content as unknown[]))]
    const merge = this.#store.schema.migrateKey?.merge[name] as
      | ((left: unknown, right: unknown) => unknown)
      | undefined
    if (state instanceof EntryMapState) {
      const writes: (() => unknown)[] = []
      for (const [mapKey, value] of content as [unknown, unknown][]) {
        const isThere = merge !== undefined && (await state.has(key, mapKey)) === true
        const next = isThere ? merge?.(await state.get(key, mapKey), value) : value
        writes.push(() => state.put(key, mapKey, next))
      }
      return writes
    }
    if ((await state.has(key)) !== true) return [() => state.put(key, content)]
    const join = merge ?? (definition.kind === 'reducing' ? definition.add : undefined)
    if (join === undefined) {
      throw new StateError('INCOMPATIBLE', {
        what: `state '${name}'`,
        found: `two values that come to have the key ${JSON.stringify(key)}`,
        supported: `one, or a function that makes one of both: fromKey(…, { merge: { ${name}: (left, right) => … } })`,
      })
    }
    const next = join(await state.get(key), content)
    return [() => state.put(key, next)]
  }

  async #removeLeftovers(id: number): Promise<void> {
    const { backend, keyGroups } = this.#store
    for (let group = 0; group < keyGroups; group++) {
      await backend.deleteRange({ prefix: statePrefix(group, id) })
    }
  }

  #putOptions(): PutOptions {
    const { ttl } = this.#open.definition
    return { ttlMs: ttl === undefined || ttl.time === 'event' ? Infinity : ttl.afterMs }
  }

  /** What is left of an entry's time to live; all of it where that cannot be told. */
  #remaining({ expiresAtMs }: RawEntry, nowMs: number | undefined): PutOptions {
    if (nowMs === undefined || expiresAtMs === Infinity) return this.#putOptions()
    return { ttlMs: Math.max(1, expiresAtMs - nowMs) }
  }

  /** Does something for every entry under an id, a page in one step. */
  async #each(
    id: number,
    expires: boolean,
    act: (entry: RawEntry, nowMs: number | undefined) => void,
  ): Promise<void> {
    const { backend } = this.#store
    await this.#pages(id, expires, async (page) => {
      const nowMs = expires ? await timeOf(backend) : undefined
      await this.#inOneStep(page, (entry) => act(entry, nowMs))
    })
  }

  async #pages(
    id: number,
    expires: boolean,
    act: (page: readonly RawEntry[]) => Promise<void>,
  ): Promise<void> {
    const { backend, host, keyGroups } = this.#store
    const { signal, onProgress } = this.#options
    for await (const page of rawPages({ backend, host, keyGroups, id, expires, signal })) {
      await act(page)
      this.#entries += page.length
      onProgress?.({ state: this.#open.name, entries: this.#entries })
      await nextTurn()
    }
  }

  async #inOneStep<Item>(items: readonly Item[], act: (item: Item) => void): Promise<void> {
    const { host } = this.#store
    const { later } = host
    if (later === undefined) {
      host.together(() => {
        for (const item of items) act(item)
      })
      return
    }
    await host.batch(async () => {
      for (const item of items) await later.write(() => act(item))
    })
  }
}

function headOf(bytes: Uint8Array): { first: number; end: number } {
  const reader = new ByteReader().fromBytes(bytes)
  const at = reader.take(16)
  const low = (offset: number) => reader.view.getUint32(at + offset, true)
  return { first: low(4) * 2 ** 32 + low(0), end: low(12) * 2 ** 32 + low(8) }
}
