// A manifest names all that a checkpoint consists of; docs/format/manifest.md specifies it.
//
// (1) It is self-contained: the segments it lists, in order, are the whole state. No other manifest is needed.
// (2) It is published last: where it can be read, every segment it names was complete and verified.
// (3) Formatting is exact: the same content always gives the same bytes.
// (4) Parsing is strict: what this version does not know is INCOMPATIBLE, anything else out of place is CORRUPTION.
//     No member is optional but `source`.

import { isSchemaObject, SCHEMA_FORMAT, type SchemaObject } from '../../backend/schema-entry.js'
import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { CODEC_NAMES, type CodecName } from '../../codec/block-codec.js'
import type { CheckpointId, CheckpointMetadata } from '../types.js'
import { checkpointId, parseObjectName, sequenceOf } from './object-names.js'
import { JsonFields, type SealedJson, sealJson, unsealJson } from './sealed-json.js'
import { FOOTER_BYTES, MIN_ENTRY_BYTES, SEGMENT_HEADER_BYTES, type SegmentRole } from './segment-format.js'

/** The latest time that a `Date` can hold, in milliseconds. */
const MAX_TIME_MS = 8_640_000_000_000_000
const MANIFEST_FORMAT = 'holdfast-checkpoint'
const MANIFEST_VERSION = 1

/** A larger manifest is neither written nor read. */
export const MAX_MANIFEST_BYTES: number = 16 * 1024 * 1024

/** A base and this many deltas less one. */
export const MAX_SEGMENTS = 1_024

const MIN_SEGMENT_BYTES = SEGMENT_HEADER_BYTES + FOOTER_BYTES

/** A file of a checkpoint, as its manifest names it (docs/format/manifest.md). */
export interface ManifestSegment {
  readonly name: string
  readonly role: SegmentRole
  readonly sizeBytes: number
  readonly rawBytes: number
  readonly entryCount: number
  readonly sha256: string
}

/** What a checkpoint says of itself (docs/format/manifest.md): the file that makes it one. */
export interface Manifest {
  readonly id: CheckpointId
  readonly sequence: number
  readonly createdAt: Date
  readonly kind: 'full' | 'incremental'
  readonly savepoint: boolean
  readonly validated: boolean
  /** The engine that the state comes from; any engine can restore it. */
  readonly backend: string
  readonly compression: CodecName
  /** The backend's time at the snapshot, in milliseconds since the epoch. */
  readonly clockMs: number
  /** Entries after the merge of all segments. */
  readonly entryCount: number
  /** The base, then the deltas, oldest first. */
  readonly segments: readonly ManifestSegment[]
  /** The version of holdfast that wrote it: for people, not for decisions. */
  readonly holdfast: string
  readonly source?: JsonValue
  /** How typed state describes itself; left out where the state is plain bytes. */
  readonly schema?: SchemaObject
}

/** What of a manifest it takes to read the state that it stands for. */
export type CheckpointContent = Pick<Manifest, 'id' | 'entryCount' | 'clockMs' | 'segments'>

export function contentOf({ id, entryCount, clockMs, segments }: Manifest): CheckpointContent {
  return { id, entryCount, clockMs, segments }
}

/** A manifest as it lies in a storage. */
export interface StoredManifest {
  readonly manifest: Manifest
  readonly manifestBytes: number
  readonly checksum: string
}

/** The exact bytes of a manifest. `SERIALIZATION_FAILED` where they would be more than {@link MAX_MANIFEST_BYTES}. */
export function formatManifest(manifest: Manifest): SealedJson {
  const sealed = sealJson({
    format: MANIFEST_FORMAT,
    version: MANIFEST_VERSION,
    id: manifest.id,
    sequence: manifest.sequence,
    createdAt: manifest.createdAt.toISOString(),
    kind: manifest.kind,
    savepoint: manifest.savepoint,
    validated: manifest.validated,
    backend: manifest.backend,
    compression: manifest.compression,
    clockMs: manifest.clockMs,
    entryCount: manifest.entryCount,
    segments: manifest.segments.map(({ name, role, sizeBytes, rawBytes, entryCount, sha256 }) => ({
      name,
      role,
      sizeBytes,
      rawBytes,
      entryCount,
      sha256,
    })),
    schema: manifest.schema ?? {},
    holdfast: manifest.holdfast,
    ...(manifest.source === undefined ? {} : { source: manifest.source }),
  })
  if (sealed.bytes.length > MAX_MANIFEST_BYTES) {
    const reason = `the manifest would have ${sealed.bytes.length} bytes; the limit is ${MAX_MANIFEST_BYTES}`
    throw new StateError('SERIALIZATION_FAILED', { what: 'manifest', reason })
  }
  return sealed
}

/** Reads the manifest of checkpoint `sequence`. Throws `CORRUPTION` or `INCOMPATIBLE`. */
export function parseManifest(bytes: Uint8Array, sequence: number): StoredManifest {
  const id = checkpointId(sequence)
  const what = `manifest of ${id}`
  const { content, checksum } = unsealJson(bytes, what)
  const fields = new JsonFields(content, what)
  rejectOtherFormats(fields, what)
  const schema = parseSchema(fields, what)
  if (fields.text('id', /^.{1,64}$/) !== id) throw fields.damaged('id', `is not ${id}`)
  fields.integer('sequence', sequence, sequence)
  const segments = fields
    .array('segments', MAX_SEGMENTS)
    .map((value, index) => parseSegment(value, sequence, `segment ${index} in the ${what}`))
  const source = fields.any('source') as JsonValue | undefined
  const manifest: Manifest = {
    id,
    sequence,
    createdAt: parseDate(fields),
    kind: fields.text('kind', /^(full|incremental)$/) as 'full' | 'incremental',
    savepoint: fields.boolean('savepoint'),
    validated: fields.boolean('validated'),
    backend: fields.text('backend', /^.{1,64}$/su),
    compression: parseCompression(fields, what),
    clockMs: parseTime(fields, 'clockMs'),
    entryCount: fields.integer('entryCount'),
    segments,
    holdfast: fields.text('holdfast', /^[0-9a-zA-Z.+-]{1,64}$/),
    ...(schema === undefined ? {} : { schema }),
    ...(source === undefined ? {} : { source }),
  }
  fields.rejectUnknown()
  rejectContradictions(manifest, fields)
  return { manifest, manifestBytes: bytes.length, checksum }
}

/** A time that a `Date` can hold: a wilder one would carry the backend's clock away with it. */
function parseTime(fields: JsonFields, name: string): number {
  const timeMs = fields.finiteNumber(name)
  if (Math.abs(timeMs) > MAX_TIME_MS) throw fields.damaged(name, 'is not a time')
  return timeMs
}

/** What callers learn about a checkpoint. */
export function metadataOf({ manifest, manifestBytes, checksum }: StoredManifest): CheckpointMetadata {
  const { id, sequence, createdAt, kind, savepoint, entryCount, validated, source, schema } = manifest
  const sizeBytes = manifest.segments.reduce((sum, segment) => sum + segment.sizeBytes, manifestBytes)
  const version = MANIFEST_VERSION
  const metadata = {
    id,
    sequence,
    createdAt,
    kind,
    savepoint,
    entryCount,
    sizeBytes,
    checksum,
    validated,
    version,
  }
  return {
    ...metadata,
    ...(source === undefined ? {} : { source }),
    ...(schema === undefined ? {} : { schema }),
  }
}

function rejectOtherFormats(fields: JsonFields, what: string): void {
  const format = fields.text('format', /^.{1,64}$/su)
  if (format !== MANIFEST_FORMAT) throw fields.damaged('format', `is not ${MANIFEST_FORMAT}`)
  const version = fields.integer('version', 1)
  if (version !== MANIFEST_VERSION) {
    const supported = `version ${MANIFEST_VERSION}`
    throw new StateError('INCOMPATIBLE', { what, found: `version ${version}`, supported })
  }
}

/**
 * What typed state says of itself decides how its bytes are to be read: a schema of a format that this version does not know
 * must not be dropped in silence, which would hand out bytes without their meaning. What a known one says is looked at by
 * whoever opens the state.
 */
function parseSchema(fields: JsonFields, what: string): SchemaObject | undefined {
  const schema = fields.any('schema')
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
    throw fields.damaged('schema', 'is not an object')
  }
  const members = Object.keys(schema)
  if (members.length === 0) return undefined
  if (isSchemaObject(schema) && schema['format'] === SCHEMA_FORMAT) return schema
  const named = members.slice(0, 8).map((name) => JSON.stringify(name.slice(0, 64)))
  const found = isSchemaObject(schema)
    ? `a schema of format ${String(schema['format'])}`
    : `a schema with ${named.join(', ')}${members.length > 8 ? ', …' : ''}`
  const supported = `state without a schema, or a schema of format ${SCHEMA_FORMAT}`
  throw new StateError('INCOMPATIBLE', { what, found, supported })
}

function parseDate(fields: JsonFields): Date {
  const text = fields.text('createdAt', /^.{20,32}$/)
  const date = new Date(text)
  if (Number.isNaN(date.getTime()) || date.toISOString() !== text) {
    throw fields.damaged('createdAt', 'is not a time in ISO 8601, UTC, with milliseconds')
  }
  return date
}

function parseCompression(fields: JsonFields, what: string): CodecName {
  const text = fields.text('compression', /^[a-z0-9-]{1,32}$/)
  const codec = CODEC_NAMES.find((name) => name === text)
  if (codec !== undefined) return codec
  throw new StateError('INCOMPATIBLE', {
    what,
    found: `compression ${text}`,
    supported: CODEC_NAMES.join(', '),
  })
}

function parseSegment(value: unknown, sequence: number, what: string): ManifestSegment {
  const fields = new JsonFields(value, what)
  const name = fields.text('name', /^[a-z0-9.-]{1,128}$/)
  const role = fields.text('role', /^(base|delta)$/) as SegmentRole
  const parsed = parseObjectName(name)
  if (parsed?.type !== 'segment' || parsed.sequence > sequence) {
    throw fields.damaged('name', 'is no name of a segment of this checkpoint or an earlier one')
  }
  if ((parsed.kind === 'delta') !== (role === 'delta')) throw fields.damaged('role', `is not that of ${name}`)
  const segment = {
    name,
    role,
    sizeBytes: fields.integer('sizeBytes', MIN_SEGMENT_BYTES),
    rawBytes: fields.integer('rawBytes'),
    entryCount: fields.integer('entryCount'),
    sha256: fields.text('sha256', /^[0-9a-f]{64}$/),
  }
  fields.rejectUnknown()
  if (segment.entryCount > segment.rawBytes / MIN_ENTRY_BYTES) {
    throw fields.damaged('entryCount', 'is more than fit into its bytes')
  }
  return segment
}

/** Every member alone is in order; these rules are about several. */
function rejectContradictions(manifest: Manifest, fields: JsonFields): void {
  const { segments, kind, savepoint, entryCount, sequence } = manifest
  const sequences = segments.map(
    (segment) => sequenceOf(segment.name.slice(0, segment.name.indexOf('.'))) ?? 0,
  )
  const inOrder = sequences.every((own, index) => index === 0 || own > (sequences[index - 1] as number))
  if (
    segments[0]?.role !== 'base' ||
    segments.slice(1).some((segment) => segment.role !== 'delta') ||
    !inOrder
  ) {
    throw fields.damaged('segments', 'are not one base and its deltas, oldest first')
  }
  if ((kind === 'full') !== (segments.length === 1)) throw fields.damaged('kind', 'does not fit the segments')
  const named = parseObjectName(segments[0].name)
  if (savepoint !== (named?.type === 'segment' && named.kind === 'savepoint')) {
    throw fields.damaged('savepoint', 'does not fit the segments')
  }
  if (savepoint && (kind !== 'full' || sequences[0] !== sequence)) {
    throw fields.damaged('savepoint', 'shares segments with other checkpoints')
  }
  const most = segments.reduce((sum, segment) => sum + segment.entryCount, 0)
  const exact = kind === 'full'
  if (entryCount > most || (exact && entryCount !== most)) {
    throw fields.damaged('entryCount', 'does not fit the segments')
  }
}
