// What a sink keeps in the state of the job.
//
//   ff ff 'sink' number u64  -> an output, as JSON

import type { SyncStateBackend } from '../../backend/state-backend.js'
import { NEVER_EXPIRES } from '../../backend/validate.js'
import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { jsonTextOf } from '../../checkpoint/format/json-value.js'
import type { SinkState } from './sink.js'

const PREFIX: Uint8Array = Uint8Array.of(0xff, 0xff, ...Buffer.from('sink'))
const NUMBER_AT = PREFIX.length

export function storedOutputs(backend: SyncStateBackend): SinkState {
  return {
    put: (number, output) => {
      backend.putSync(keyOf(number), Buffer.from(jsonTextOf(output, 'an output')), NEVER_EXPIRES)
    },
    *read(from, until): Generator<[number, JsonValue]> {
      for (const [key, value] of backend.scanSync({ gte: keyOf(from), lt: keyOf(until) })) {
        const number = Number(new DataView(key.buffer, key.byteOffset).getBigUint64(NUMBER_AT))
        yield [number, parsed(value, number, key)]
      }
    },
    removeFrom: (from, until) => backend.deleteRangeSync({ gte: keyOf(from), lt: keyOf(until) }),
  }
}

function keyOf(number: number): Uint8Array {
  const key = new Uint8Array(NUMBER_AT + 8)
  key.set(PREFIX)
  new DataView(key.buffer).setBigUint64(NUMBER_AT, number === Infinity ? 2n ** 64n - 1n : BigInt(number))
  return key
}

function parsed(bytes: Uint8Array, number: number, key: Uint8Array): JsonValue {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as JsonValue
  } catch (error) {
    const reason = `output ${number}: ${String(error)}`
    throw new StateError('CORRUPTION', { what: 'the outbox of a job', reason, key }, { cause: error })
  }
}
