// How one block of bytes is compressed. What each codec stores (docs/format/segment.md):
//
//   none := raw bytes
//   lz4  := rawBytes u32 little-endian · one LZ4 block (no frame)
//   gzip := one gzip member (RFC 1952)
//   zstd := one Zstandard frame (RFC 8878)
//
// (1) Whoever decompresses says how many bytes must come out; more are never produced or allocated.
// (2) A codec that this runtime lacks is INCOMPATIBLE. No other one takes its place.

import { promisify } from 'node:util'
// As a whole: of a namespace webpack makes imports by name, and one that this Node.js lacks keeps the whole bundle from loading.
import zlib from 'node:zlib'
import type * as Lz4 from 'lz4-napi'
import { requirePackage } from '../base/compiled.js'
import { reasonOf, StateError } from '../base/errors.js'

export type CodecName = 'lz4' | 'gzip' | 'zstd' | 'none'

/** Compresses single blocks, outside the main thread where the runtime can. */
export interface BlockCodec {
  readonly name: CodecName
  /** The stored form of `raw`, which must not change before this resolves. It may share memory with `raw`. */
  compress(raw: Uint8Array): Promise<Uint8Array>
  /** The raw form, exactly `rawBytes` long (1 or more); `CORRUPTION` where anything else would come out. */
  decompress(stored: Uint8Array, rawBytes: number): Promise<Uint8Array>
  /** {@link compress}, on the calling thread. */
  compressSync(raw: Uint8Array): Uint8Array
  /** {@link decompress}, on the calling thread. */
  decompressSync(stored: Uint8Array, rawBytes: number): Uint8Array
}

export type CodecOf = (name: CodecName) => BlockCodec

/** Every codec of the format. The number is what a segment's header holds; numbers are never reused. */
export const CODEC_NUMBERS: { readonly [Name in CodecName]: number } = { none: 0, lz4: 1, gzip: 2, zstd: 3 }

export const CODEC_NAMES: readonly CodecName[] = ['lz4', 'gzip', 'zstd', 'none']

/** The codec of that name; `INCOMPATIBLE` where this runtime cannot provide it. */
export function blockCodec(name: CodecName): BlockCodec {
  const codec = makers[name]()
  if (codec === undefined) {
    const supported = CODEC_NAMES.filter(isCodecAvailable).join(', ')
    const details = {
      what: `compression on Node.js ${process.version}`,
      found: name === 'zstd' ? 'zstd (needs Node.js 22.15 or later)' : `${name} (${reasonOf(lz4Failure)})`,
      supported,
    }
    throw new StateError('INCOMPATIBLE', details, name === 'lz4' ? { cause: lz4Failure } : undefined)
  }
  return codec
}

/**
 * The codec for a thread that reads, and has nothing else to do. `lz4` and `none` take so little time that handing them to the thread
 * pool costs more than it gives; the others stay in the pool, unless all work is to be that of the calling thread. Who writes has
 * more to hand over: {@link blockCodec}.
 */
export function threadCodec(name: CodecName, onlyThisThread: boolean): BlockCodec {
  const codec = blockCodec(name)
  const cheap = name === 'lz4' || name === 'none'
  if (!cheap && !onlyThisThread) return codec
  return {
    ...codec,
    compress: async (raw) => codec.compressSync(raw),
    decompress: async (stored, rawBytes) => codec.decompressSync(stored, rawBytes),
  }
}

/** Whether this runtime can read and write that codec. */
export function isCodecAvailable(name: CodecName): boolean {
  return makers[name]() !== undefined
}

const makers: { readonly [Name in CodecName]: () => BlockCodec | undefined } = {
  none: () => noneCodec,
  lz4: lz4Codec,
  gzip: () => gzipCodec,
  zstd: zstdCodec,
}

const noneCodec: BlockCodec = {
  name: 'none',
  compress: async (raw) => raw,
  decompress: async (stored, rawBytes) => sized('none', stored, rawBytes),
  compressSync: (raw) => raw,
  decompressSync: (stored, rawBytes) => sized('none', stored, rawBytes),
}

const GZIP_LEVEL = 1
/** Room in the output buffer beyond the data, so that zlib notices the end without another round. */
const SLACK_BYTES = 64

const gzip = promisify(zlib.gzip) as (raw: Uint8Array, options: zlib.ZlibOptions) => Promise<Uint8Array>
const gunzip = promisify(zlib.gunzip) as (
  stored: Uint8Array,
  options: zlib.ZlibOptions,
) => Promise<Uint8Array>

const gzipCodec: BlockCodec = {
  name: 'gzip',
  compress: (raw) => gzip(raw, deflateOptions(raw.length)),
  decompress: async (stored, rawBytes) =>
    sized('gzip', await gunzip(stored, inflateOptions(rawBytes)).catch(notDeclared('gzip')), rawBytes),
  compressSync: (raw) => zlib.gzipSync(raw, deflateOptions(raw.length)),
  decompressSync: (stored, rawBytes) =>
    sized(
      'gzip',
      tried('gzip', () => zlib.gunzipSync(stored, inflateOptions(rawBytes))),
      rawBytes,
    ),
}

/** One output buffer of the largest size that can come out: one trip to the thread pool instead of one per 16 KiB. */
function deflateOptions(rawBytes: number): zlib.ZlibOptions {
  return { level: GZIP_LEVEL, chunkSize: deflatedBytesMax(rawBytes) }
}

function inflateOptions(rawBytes: number): { readonly maxOutputLength: number; readonly chunkSize: number } {
  return { maxOutputLength: rawBytes, chunkSize: rawBytes + SLACK_BYTES }
}

/** Deflate stores what it cannot shrink in pieces with 5 bytes each; a gzip member adds 18. */
function deflatedBytesMax(rawBytes: number): number {
  return rawBytes + (rawBytes >>> 10) + SLACK_BYTES
}

const LZ4_PREFIX_BYTES = 4

let lz4: BlockCodec | undefined
let lz4Tried = false
let lz4Failure: unknown

/** Loaded when first asked for: a machine that the native module does not know can use the other codecs. */
function lz4Codec(): BlockCodec | undefined {
  if (!lz4Tried) {
    lz4Tried = true
    try {
      lz4 = lz4CodecOf(loadLz4())
    } catch (error) {
      lz4Failure = error
    }
  }
  return lz4
}

/** The package that LZ4 comes from; `INCOMPATIBLE` where it does not load. */
export function loadLz4(): typeof Lz4 {
  return requirePackage('lz4-napi') as typeof Lz4
}

function lz4CodecOf(native: typeof Lz4): BlockCodec {
  return {
    name: 'lz4',
    compress: (raw) => native.compress(raw),
    decompress: async (stored, rawBytes) => {
      checkLz4Prefix(stored, rawBytes)
      return sized('lz4', await native.uncompress(stored).catch(notDeclared('lz4')), rawBytes)
    },
    compressSync: (raw) => native.compressSync(asBuffer(raw)),
    decompressSync: (stored, rawBytes) => {
      checkLz4Prefix(stored, rawBytes)
      return sized(
        'lz4',
        tried('lz4', () => native.uncompressSync(stored)),
        rawBytes,
      )
    },
  }
}

/** The native module allocates what this prefix says: it must be checked before that, not after. */
function checkLz4Prefix(stored: Uint8Array, rawBytes: number): void {
  if (stored.length <= LZ4_PREFIX_BYTES) throw damaged('lz4', 'it is cut off')
  const declared = new DataView(stored.buffer, stored.byteOffset, LZ4_PREFIX_BYTES).getUint32(0, true)
  if (declared !== rawBytes) {
    throw damaged('lz4', `its size prefix says ${declared} bytes instead of ${rawBytes}`)
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** What newer versions of `node:zlib` have, beyond the types of the oldest one that we run on. */
interface ZstdFunctions {
  zstdCompress(raw: Uint8Array, done: (error: Error | null, stored: Uint8Array) => void): void
  zstdDecompress(
    stored: Uint8Array,
    options: { readonly maxOutputLength: number; readonly chunkSize: number },
    done: (error: Error | null, raw: Uint8Array) => void,
  ): void
  zstdCompressSync(raw: Uint8Array): Uint8Array
  zstdDecompressSync(
    stored: Uint8Array,
    options: { readonly maxOutputLength: number; readonly chunkSize: number },
  ): Uint8Array
}

function zstdCodec(): BlockCodec | undefined {
  if (!('zstdCompress' in zlib)) return undefined
  const { zstdCompress, zstdDecompress, zstdCompressSync, zstdDecompressSync } = zlib as typeof zlib &
    ZstdFunctions
  const compress = promisify(zstdCompress)
  const decompress = promisify(zstdDecompress)
  return {
    name: 'zstd',
    compress: (raw) => compress(raw),
    decompress: async (stored, rawBytes) =>
      sized('zstd', await decompress(stored, inflateOptions(rawBytes)).catch(notDeclared('zstd')), rawBytes),
    compressSync: (raw) => zstdCompressSync(raw),
    decompressSync: (stored, rawBytes) =>
      sized(
        'zstd',
        tried('zstd', () => zstdDecompressSync(stored, inflateOptions(rawBytes))),
        rawBytes,
      ),
  }
}

/** Turns the failure of a decompressor into damage of its block. */
function notDeclared(name: CodecName): (error: unknown) => never {
  return (error) => {
    throw damaged(name, 'it does not decompress to its declared size', error)
  }
}

function tried(name: CodecName, decompress: () => Uint8Array): Uint8Array {
  try {
    return decompress()
  } catch (error) {
    return notDeclared(name)(error)
  }
}

/** Never a `Buffer`, whose `slice` shares memory: whoever copies an entry out of a block must get a copy. */
function sized(name: CodecName, raw: Uint8Array, rawBytes: number): Uint8Array {
  if (raw.length !== rawBytes) {
    throw damaged(name, `it holds ${raw.length} bytes instead of ${rawBytes}`)
  }
  return new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength)
}

function damaged(name: CodecName, reason: string, cause?: unknown): StateError<'CORRUPTION'> {
  return new StateError('CORRUPTION', { what: `${name} block`, reason }, { cause })
}
