// Open windows, as a tool reads them in a checkpoint whose program it does not have.

import { isStateError } from '../base/errors.js'
import type { JsonValue } from '../base/json.js'
import { bytes } from '../state/codec/byte-strings.js'
import type { Codec } from '../state/codec/codec.js'
import { codecOf } from '../state/codec/codec-of.js'
import { windowListCodec } from './operator/window-list.js'

/**
 * The codec of a state of windows, from its descriptor (docs/format/state.md), to be read only; `undefined` where it is of no windows. An
 * accumulator whose form only its aggregate knows comes as its bytes.
 *
 * @example new EntryDecoder(metadata.schema, windowCodecOf)
 */
export function windowCodecOf(descriptor: JsonValue): Codec<unknown> | undefined {
  if (typeof descriptor !== 'object' || descriptor === null || !('windows' in descriptor)) return undefined
  const { windows, accumulator = 'none' } = descriptor as { readonly [name: string]: JsonValue }
  if (typeof windows !== 'string') return undefined
  const values = accumulator === 'none' ? undefined : accumulatorCodec(accumulator)
  return windows.startsWith('panes of ') ? values : windowListCodec(values, { windows })
}

function accumulatorCodec(descriptor: JsonValue): Codec<unknown> {
  try {
    return codecOf(descriptor) as unknown as Codec<unknown>
  } catch (error) {
    if (isStateError(error, 'INCOMPATIBLE')) return bytes as unknown as Codec<unknown>
    throw error
  }
}
