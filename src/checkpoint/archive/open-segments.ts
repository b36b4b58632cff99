import { present } from '../../base/assert.js'
import type { BlockCodec, CodecName } from '../../codec/block-codec.js'
import type { ObjectReader, ObjectSource, OpenOptions } from '../../storage/checkpoint-storage.js'
import type { ManifestSegment } from '../format/manifest.js'
import { readAheadOf } from '../format/read-ahead.js'
import { damagedSegment } from '../format/segment-format.js'
import { SegmentReader } from '../format/segment-reader.js'

/** Segments that are being opened at a time: a chain far away is opened in a few round trips. */
const OPENED_AT_A_TIME = 8

/**
 * Segments up to this size are fetched whole, in one call: where all of it is wanted anyway, and where it is less than finding one's
 * way in it would cost.
 */
const WHOLE_BYTES: { readonly [Kind in Access]: number } = { sequential: 256 * 1024, random: 8 * 1024 }

export type Access = NonNullable<OpenOptions['access']>

/** The segments of a checkpoint, all open. */
export interface OpenSegments {
  /** In the order of the manifest: the base first. */
  readonly readers: readonly SegmentReader[]
  /** Never rejects: a file that was only read and does not close has done no harm to what was read. */
  close(): Promise<void>
}

/** Opens every segment and compares it with the manifest. `CORRUPTION` (also for a missing one), `INCOMPATIBLE`. */
export async function openSegments(
  storage: ObjectSource,
  segments: readonly ManifestSegment[],
  access: Access,
  codecOf?: (name: CodecName) => BlockCodec,
): Promise<OpenSegments> {
  const objects: ObjectReader[] = []
  const opened: SegmentReader[] = []
  const close = async () => {
    await Promise.all(opened.map((reader) => reader.settle()))
    await Promise.allSettled(objects.map((object) => object.close()))
  }
  const allBytes = segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const openOne = async (segment: ManifestSegment) => {
    const share = segment.sizeBytes / allBytes
    const object = await openObject(storage, segment, { access, share })
    objects.push(object)
    const reading = { codecOf, readAhead: readAheadOf(share), isWhole: access === 'sequential' }
    const reader = await SegmentReader.open(object, segment.name, segment, reading)
    opened.push(reader)
    return reader
  }
  const readers: SegmentReader[] = []
  try {
    for (let next = 0; next < segments.length; next += OPENED_AT_A_TIME) {
      const opening = segments.slice(next, next + OPENED_AT_A_TIME).map(openOne)
      await Promise.allSettled(opening)
      for (const each of opening) readers.push(await each)
    }
  } catch (error) {
    await close()
    throw error
  }
  return { readers, close }
}

/** Opens and compares with the manifest one segment that is to be read from its beginning to its end. */
export async function openSegment(
  storage: ObjectSource,
  segment: ManifestSegment,
  codecOf: (name: CodecName) => BlockCodec,
): Promise<{ readonly reader: SegmentReader; close(): Promise<void> }> {
  const { readers, close } = await openSegments(storage, [segment], 'sequential', codecOf)
  return { reader: present(readers[0], 'a segment was opened'), close }
}

async function openObject(
  storage: ObjectSource,
  { name, sizeBytes }: ManifestSegment,
  options: { readonly access: Access; readonly share: number },
): Promise<ObjectReader> {
  if (sizeBytes > WHOLE_BYTES[options.access]) {
    const object = await storage.open(name, options)
    if (object === undefined) throw missing(name)
    return object
  }
  const bytes = await storage.read(name, sizeBytes)
  if (bytes === undefined) throw missing(name)
  return {
    sizeBytes: bytes.length,
    read: async (offset, length) => bytes.subarray(offset, offset + length),
    close: async () => {},
  }
}

function missing(name: string): Error {
  return damagedSegment(name, 'it is missing')
}
