// What a sink keeps in the state of the job.
//
//   ff ff 'sink' number u64  -> an output, as JSON

import type { StateBackend, SyncStateBackend } from '../../backend/state-backend.js'
import { NEVER_EXPIRES } from '../../backend/validate.js'
import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { jsonTextOf } from '../../checkpoint/format/json-value.js'
import type { SinkState } from './sink.js'

const PREFIX: Uint8Array = Uint8Array.of(0xff, 0xff, ...Buffer.from('sink'))
const NUMBER_AT = PREFIX.length
const MAX_UINT32 = 2 ** 32 - 1
/**
 * So many outputs are looked up one by one. By its range a stretch is found only where the keys are in order, and an engine that keeps them in none
 * sorts all of the state for it: at the first one after a restore that takes longer than all the rest of the begin.
 */
const MAX_ONE_BY_ONE = 100_000

export function storedOutputs(backend: SyncStateBackend): SinkState {
  return {
    put: (number, output) => {
      backend.putSync(keyOf(number), Buffer.from(jsonTextOf(output, 'an output')), NEVER_EXPIRES)
    },
    *read(from, until): Generator<[number, JsonValue]> {
      if (until - from <= MAX_ONE_BY_ONE) {
        for (let number = from; number < until; number++) {
          const key = keyOf(number)
          const value = backend.getSync(key)
          if (value !== undefined) yield [number, parsed(value, number, key)]
        }
        return
      }
      for (const [key, value] of backend.scanSync({ gte: keyOf(from), lt: keyOf(until) })) {
        const number = numberOf(key)
        yield [number, parsed(value, number, key)]
      }
    },
    removeFrom: (from, until) => {
      if (until - from > MAX_ONE_BY_ONE) removeRange(backend, from, until)
      else for (let number = from; number < until; number++) backend.deleteSync(keyOf(number))
    },
  }
}

/** The same on an asynchronous engine. Between two cuts outputs wait in memory: what writes to the engine is what the cut writes. */
export class OutputsForCut implements SinkState {
  readonly #engine: StateBackend
  readonly #steps: SyncStateBackend
  readonly #stored: SinkState
  #waiting: (readonly [number: number, output: JsonValue])[] = []

  /** @param steps the face of the engine, which is written to while no commit of it is on its way. */
  constructor(engine: StateBackend, steps: SyncStateBackend) {
    this.#engine = engine
    this.#steps = steps
    this.#stored = storedOutputs(steps)
  }

  put(number: number, output: JsonValue): void {
    this.#waiting.push([number, output])
  }

  /** From the engine: what is read was committed with its cut. */
  async *read(from: number, until: number): AsyncGenerator<readonly [number, JsonValue]> {
    for await (const [key, value] of this.#engine.scan({ gte: keyOf(from), lt: keyOf(until) })) {
      const number = numberOf(key)
      yield [number, parsed(value, number, key)]
    }
  }

  removeFrom(from: number, until: number): void {
    removeRange(this.#steps, from, until)
  }

  /** Puts what waits into the step at hand: the cut that comes is to have it. Only while the mutex is held. */
  prepare(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const [number, output] of waiting) this.#stored.put(number, output)
  }
}

function removeRange(backend: SyncStateBackend, from: number, until: number): void {
  backend.deleteRangeSync({ gte: keyOf(from), lt: keyOf(until) })
}

const numberOf = (key: Uint8Array): number =>
  Number(new DataView(key.buffer, key.byteOffset).getBigUint64(NUMBER_AT))

function keyOf(number: number): Uint8Array {
  const key = new Uint8Array(NUMBER_AT + 8)
  key.set(PREFIX)
  const high = number === Infinity ? MAX_UINT32 : Math.floor(number / 2 ** 32)
  writeUint32(key, NUMBER_AT, high)
  // Modulo 2^32: the lower half of the number.
  writeUint32(key, NUMBER_AT + 4, number === Infinity ? MAX_UINT32 : number)
  return key
}

function writeUint32(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word >>> 24
  bytes[at + 1] = word >>> 16
  bytes[at + 2] = word >>> 8
  bytes[at + 3] = word
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

function parsed(bytes: Uint8Array, number: number, key: Uint8Array): JsonValue {
  try {
    return JSON.parse(utf8.decode(bytes)) as JsonValue
  } catch (error) {
    const reason = `output ${number}: ${String(error)}`
    throw new StateError('CORRUPTION', { what: 'the outbox of a job', reason, key }, { cause: error })
  }
}
