// An estimate of how many different values there are, of a fixed size: HyperLogLog.
//
// A value's key form is hashed twice by MurmurHash3 (x86, 32 bits): the first hash chooses a register, of the second one the zeros in
// front are counted. A register keeps the highest number of them that it was given, plus one. Estimated by the improved raw
// estimator of Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017), section 4, which has no bias at small or
// large numbers, and needs no tables.
//
//   registers := u8*        0, where nothing came, to 33

import { invalidArgument } from '../../base/options.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { AnyKeyCodec, FixedCodec, InputOf, KeyCodec } from '../../state/codec/codec.js'
import { CodecError, within } from '../../state/codec/codec-error.js'
import { keyHash } from '../../state/key/key-group.js'
import { APPROXIMATE_DISTINCT_COUNT } from '../../state/schema/compare-schema.js'
import { checkDistinct } from './distinct.js'
import { type FixedAggregate, fixedAggregate } from './raw-aggregate.js'

/** Bits of the second hash. */
const BITS = 32
const HIGHEST = BITS + 1
const FEWEST_REGISTERS = 16
const MOST_REGISTERS = 16_384
const DEFAULT_REGISTERS = 2_048
/** What stands in front of a value for the second hash: as if that one had a seed of its own. */
const SALT = 0x9e3779b9

/**
 * About how many different values the events have. It takes one byte for each register, whatever it is given; the standard error is
 * 1.04 / √registers: 2.3 % with 2,048, the default. `registers` is a power of two from 16 to 16,384.
 * An event without a value (`undefined`) is not counted. The hash has no seed: who chooses the values can make the estimate wrong.
 *
 * @example approximateDistinctCount(utf8, (view: PageView) => view.user)
 */
export function approximateDistinctCount<Event, C extends AnyKeyCodec>(
  codec: C,
  of: (event: Event) => InputOf<C> | undefined,
  { registers = DEFAULT_REGISTERS }: { readonly registers?: number } = {},
): FixedAggregate<Event, number> {
  checkDistinct(codec, of)
  if (!Number.isInteger(Math.log2(registers)) || registers < FEWEST_REGISTERS || registers > MOST_REGISTERS) {
    throw invalidArgument(
      'options.registers',
      `must be a power of two from ${FEWEST_REGISTERS} to ${MOST_REGISTERS}`,
    )
  }
  const keyCodec = codec as unknown as KeyCodec<unknown, InputOf<C>>
  const written = new ByteWriter()
  return fixedAggregate<Event, number>({
    // The registers do not tell of what they are, and one value in two codecs would be two.
    kind: APPROXIMATE_DISTINCT_COUNT + JSON.stringify(keyCodec.descriptor),
    fields: [['', registersCodec(registers)]],
    add: (view, at, event) => {
      const value = of(event)
      if (value === undefined) return
      written.length = 0
      written.uint32(SALT)
      try {
        keyCodec.writeKey(value, written)
      } catch (error) {
        throw within('distinct', error, 'write')
      }
      const place = at + (keyHash(written.view, 4, written.length) & (registers - 1))
      const rank = Math.clz32(keyHash(written.view, 0, written.length)) + 1
      if (rank > view.getUint8(place)) view.setUint8(place, rank)
    },
    merge: (view, at, later, laterAt) => {
      for (let i = 0; i < registers; i++) {
        const rank = later.getUint8(laterAt + i)
        if (rank > view.getUint8(at + i)) view.setUint8(at + i, rank)
      }
    },
    result: (view, at) => estimate(view, at, registers),
    check: (view, at) => checkRegisters(view, at, registers),
  })
}

function estimate(view: DataView, at: number, registers: number): number {
  const counts = new Uint32Array(HIGHEST + 1)
  for (let i = 0; i < registers; i++) {
    const rank = view.getUint8(at + i)
    counts[rank] = (counts[rank] as number) + 1
  }
  const share = (rank: number) => (counts[rank] as number) / registers
  let sum = registers * tau(1 - share(HIGHEST))
  for (let rank = BITS; rank >= 1; rank--) sum = (sum + (counts[rank] as number)) / 2
  sum += registers * sigma(share(0))
  return Math.round((registers * registers) / (2 * Math.LN2 * sum))
}

/** What the registers that nothing came to add: x + Σ x^(2^k) · 2^(k-1). */
function sigma(share: number): number {
  if (share === 1) return Infinity
  let power = share
  let sum = share
  for (let weight = 1, before = -1; sum !== before; weight *= 2) {
    power *= power
    before = sum
    sum += power * weight
  }
  return sum
}

/** What those that are full leave: (1 - x - Σ (1 - x^(2^-k))² · 2^-k) / 3. */
function tau(share: number): number {
  if (share === 0 || share === 1) return 0
  let root = share
  let rest = 1 - share
  for (let weight = 0.5, before = -1; rest !== before; weight /= 2) {
    root = Math.sqrt(root)
    before = rest
    rest -= (1 - root) ** 2 * weight
  }
  return rest / 3
}

function checkRegisters(view: DataView, at: number, registers: number): void {
  for (let i = 0; i < registers; i++) {
    const rank = view.getUint8(at + i)
    if (rank > HIGHEST) throw new CodecError(`a register of ${rank}`, undefined, undefined, 'read')
  }
}

/** The registers, for tools that read them. */
function registersCodec(registers: number): FixedCodec<unknown, never> {
  const reader = new ByteReader()
  const load = (view: DataView, at: number) => {
    checkRegisters(view, at, registers)
    return reader.fromBytes(new Uint8Array(view.buffer, view.byteOffset, view.byteLength), at).copy(registers)
  }
  const store = (): never => {
    throw new CodecError('registers are written by their aggregate')
  }
  return Object.freeze({
    descriptor: { hyperLogLog: registers },
    fixedBytes: registers,
    isOpenEnded: false,
    load,
    store,
    read: (from: ByteReader) => load(from.view, from.take(registers)),
    write: store,
  })
}
