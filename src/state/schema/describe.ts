// A store as a tool sees it: its states in words, and its entries as values, from what is recorded and without its program.

import { SCHEMA_KEY } from '../../backend/schema-entry.js'
import type { Entry, ScanRange } from '../../backend/types.js'
import { isStateError, reasonOf, StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { bytes } from '../codec/byte-strings.js'
import { ByteReader } from '../codec/bytes.js'
import type { Codec, KeyCodec } from '../codec/codec.js'
import { codecOf, keyCodecOf } from '../codec/codec-of.js'
import { int64 } from '../codec/numbers.js'
import { readerBehindPrefix } from '../key/stored-key.js'
import type { StateKind } from '../kinds/definition-types.js'
import { STAMP_BYTES } from '../time/event-expiry.js'
import { shown } from './compare-schema.js'
import type { StateSchema } from './define-state.js'
import {
  decodeSchema,
  describeState,
  isStamped,
  type RecordedForm,
  type RecordedGeneration,
  type RecordedSchema,
  STORE_FORMAT,
} from './recorded-schema.js'

/** A state in words. */
export interface DescribedState {
  readonly name: string
  readonly kind: StateKind
  readonly version: number
  /** As it would be written in a program: `struct({ count: uint32 })`. */
  readonly codec: string
  readonly mapKey?: string
  readonly ttl?: string
  readonly indexes: readonly string[]
}

/** A recorded schema in words, for people and tools. */
export interface DescribedSchema {
  readonly key: string
  readonly keyGroups: number
  readonly states: readonly DescribedState[]
}

/** An entry as values. */
export interface DecodedEntry {
  readonly state: string
  readonly kind: StateKind
  /** The version that wrote it. */
  readonly version: number
  readonly key: unknown
  /** Of a map. */
  readonly mapKey?: unknown
  /** Of an element of a list: its place. */
  readonly place?: number
  readonly value: unknown
  /** The codec of the values is one that only a program knows: `value` is their bytes. */
  readonly isUndecoded?: true
  /** Of a state that expires by event time: when. */
  readonly expiresAtMs?: number
}

/** A schema in words: of a program, or as it is recorded in a store or in a checkpoint's metadata. */
export function describe(schema: StateSchema | RecordedSchema): DescribedSchema {
  const recorded = 'format' in schema ? schema : recordOf(schema)
  return {
    key: shown(recorded.key),
    keyGroups: recorded.keyGroups,
    states: recorded.states.map(({ name, kind, version = 1, codec, mapKey, ttl, indexes = [] }) => ({
      name,
      kind,
      version,
      codec: shown(codec),
      ...(mapKey === undefined ? {} : { mapKey: shown(mapKey) }),
      ...(ttl === undefined
        ? {}
        : { ttl: `${ttl.afterMs} ms by ${ttl.time ?? 'processing'} time, from ${ttl.refresh}` }),
      indexes: indexes.map((index) => index.name),
    })),
  }
}

/** A program's schema as an empty store would record it: what the schema file holds. */
export function recordOf(schema: StateSchema): RecordedSchema {
  const states = Object.entries(schema.states).map(([name, definition], i) => {
    const state = describeState(i + 1, name, definition)
    const indexes = Object.entries(definition.indexes).map(([index, { codec, version }], place) => ({
      id: place + 1,
      name: index,
      codec: codec.descriptor,
      version,
      built: true,
    }))
    return indexes.length === 0 ? state : { ...state, indexes }
  })
  return {
    format: STORE_FORMAT,
    keyGroups: schema.keyGroups,
    key: schema.key.descriptor,
    ...(schema.keyVersion === 1 ? {} : { keyVersion: schema.keyVersion }),
    nextId: states.length + 1,
    states,
    dropping: [],
  }
}

/** What of an archive (`CheckpointArchive`), or of a backend in its place, is read. */
export interface CheckpointEntries {
  get(id: string, key: Uint8Array): Promise<Uint8Array | undefined>
  scan(id: string, range?: ScanRange): AsyncIterable<Entry>
}

/** Which entries of a checkpoint are read. */
export interface ReadCheckpointOptions {
  /** Only this state. Default: all. */
  readonly state?: string
  /** Ends it with `ABORTED` before its next entry. */
  readonly signal?: AbortSignal
}

/**
 * The entries of a checkpoint of typed state, as values, without the program that wrote it: each in the form of the version that
 * wrote it, or as bytes where only a program knows the codec. Entries of the store itself (its record, indices) are left out.
 * `INCOMPATIBLE` where the checkpoint is of no typed store or of a newer version; `DESERIALIZATION_FAILED` where an entry cannot be read.
 *
 * @example for await (const { state, key, value } of readCheckpoint(new CheckpointArchive(storage), id)) console.log(state, key, value)
 */
export async function* readCheckpoint(
  archive: CheckpointEntries,
  id: string,
  { state, signal }: ReadCheckpointOptions = {},
): AsyncGenerator<DecodedEntry, void, undefined> {
  const record = await archive.get(id, SCHEMA_KEY)
  if (record === undefined) {
    throw new StateError('INCOMPATIBLE', {
      what: `checkpoint ${id}`,
      found: 'entries that no typed store has written',
      supported: 'a checkpoint with the record of a typed store',
    })
  }
  const decoder = new EntryDecoder(decodeSchema(record))
  const lt = Uint8Array.of(decoder.schema.keyGroups >>> 8, decoder.schema.keyGroups & 0xff)
  for await (const [key, value] of archive.scan(id, { lt, ...(signal === undefined ? {} : { signal }) })) {
    const decoded = decoder.decode(key, value)
    if (decoded !== undefined && (state === undefined || decoded.state === state)) yield decoded
  }
}

interface Decoding {
  readonly name: string
  readonly form: RecordedForm | RecordedGeneration
  readonly key: KeyCodec<unknown>
  /** `undefined`: nobody here knows it. */
  readonly codec: Codec<unknown> | undefined
  readonly mapKey: KeyCodec<unknown> | undefined
}

/** Codecs of values that the typed state itself does not know, by descriptor: those of windows (`windowCodecOf` of holdfast/window). */
export type FurtherCodecs = (descriptor: JsonValue) => Codec<unknown> | undefined

/** Turns stored entries into values by what is recorded. */
export class EntryDecoder {
  readonly schema: RecordedSchema
  readonly #byId = new Map<number, Decoding>()

  /** Values of a codec that neither this version nor `further` knows come as bytes, and say so. `INCOMPATIBLE` for such a key. */
  constructor(schema: RecordedSchema, further: FurtherCodecs = () => undefined) {
    this.schema = schema
    for (const state of schema.states) {
      for (const form of [state, ...(state.former ?? [])] as (RecordedForm | RecordedGeneration)[]) {
        const key: JsonValue = ('key' in form ? form.key : undefined) ?? state.key ?? schema.key
        this.#byId.set(form.id, {
          name: state.name,
          form,
          key: keyCodecOf(key) as unknown as KeyCodec<unknown>,
          codec: further(form.codec) ?? knownCodecOf(form.codec),
          mapKey:
            form.mapKey === undefined ? undefined : (keyCodecOf(form.mapKey) as unknown as KeyCodec<unknown>),
        })
      }
    }
  }

  /** The entry as values; `undefined` for the store's own, for what a dropped state has left, and for the head of a list. */
  decode(storedKey: Uint8Array, value: Uint8Array): DecodedEntry | undefined {
    if (storedKey.length < 4) return undefined
    const decoding = this.#byId.get((storedKey[2] as number) * 256 + (storedKey[3] as number))
    if (decoding === undefined) return undefined
    try {
      return decodeAs(decoding, storedKey, value)
    } catch (error) {
      const what = `an entry of state '${decoding.name}'`
      throw new StateError('DESERIALIZATION_FAILED', { what, reason: reasonOf(error) }, { cause: error })
    }
  }
}

function knownCodecOf(descriptor: JsonValue): Codec<unknown> | undefined {
  try {
    return codecOf(descriptor) as unknown as Codec<unknown>
  } catch (error) {
    if (isStateError(error, 'INCOMPATIBLE')) return undefined
    throw error
  }
}

function decodeAs({ name, form, key, codec, mapKey }: Decoding, storedKey: Uint8Array, value: Uint8Array) {
  const reader = readerBehindPrefix(storedKey)
  const { kind, version = 1 } = form
  const decoded = { state: name, kind, version, key: key.readKey(reader) }
  let part: { readonly mapKey?: unknown; readonly place?: number } = {}
  if (kind === 'list') {
    if (reader.rest() === 0) return undefined
    const at = reader.take(8)
    part = { place: reader.view.getUint32(at) * 2 ** 32 + reader.view.getUint32(at + 4) }
  } else if (mapKey !== undefined) {
    part = { mapKey: mapKey.readKey(reader) }
  }
  reader.assertEnd()
  const from = new ByteReader().fromBytes(value)
  const expiry = isStamped(form) ? { expiresAtMs: int64.load(from.view, from.take(STAMP_BYTES)) } : {}
  if (codec === undefined) {
    return { ...decoded, ...part, value: bytes.read(from), isUndecoded: true as const, ...expiry }
  }
  const read = codec.read(from)
  from.assertEnd()
  return { ...decoded, ...part, value: read, ...expiry }
}
