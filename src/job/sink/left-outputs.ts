// Outputs that a sink has kept in the state of the job, where it has another sink now: one that does not look there. They count, and are in no other
// place, so the new sink is given them before anything else; or the job is refused.

import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { stretchIn } from './outbox-writer.js'
import type { EpochId, PreparedEpoch, Sink, SinkState, SinkWriter } from './sink.js'

/** So many are read, and given to the sink, at once. */
const GIVEN_AT_ONCE = 1_000

/** What a sink is given of the state: it is known afterwards whether it has looked there. */
export class WatchedState implements SinkState {
  readonly #state: SinkState
  #isUsed = false

  constructor(state: SinkState) {
    this.#state = state
  }

  get isUsed(): boolean {
    return this.#isUsed
  }

  put(number: number, output: JsonValue): void {
    this.#isUsed = true
    this.#state.put(number, output)
  }

  read(from: number, until: number): ReturnType<SinkState['read']> {
    this.#isUsed = true
    return this.#state.read(from, until)
  }

  removeFrom(from: number, until: number): void {
    this.#isUsed = true
    this.#state.removeFrom(from, until)
  }
}

/** `INCOMPATIBLE` where a cut names outputs that are still in the state, and there is nobody who would put them out. */
export async function requireNoneLeft(
  jobName: string,
  prepared: readonly PreparedEpoch[],
  state: SinkState,
): Promise<void> {
  for await (const { outputs } of leftOutputs(prepared, state)) if (outputs.length > 0) throw refusal(jobName)
}

/**
 * Gives a sink that does not look at the state what is left there, under the ids that it has. Where it is there again after a crash it is given again: so
 * only to a sink that takes outputs again.
 */
export async function handOver<Output>(
  jobName: string,
  { guarantee }: Pick<Sink<Output>, 'guarantee'>,
  writer: SinkWriter<Output>,
  prepared: readonly PreparedEpoch[],
  state: SinkState,
): Promise<void> {
  for await (const { epoch, index, outputs, from, until } of leftOutputs(prepared, state)) {
    if (outputs.length === 0) continue
    if (guarantee !== 'idempotent') throw refusal(jobName)
    await writer.write(outputs as readonly Output[], epoch, index)
    state.removeFrom(from, until)
  }
}

interface LeftOutputs {
  readonly epoch: EpochId
  /** The place of the first of them in its epoch. */
  readonly index: number
  readonly outputs: readonly JsonValue[]
  /** Where they lie. */
  readonly from: number
  readonly until: number
}

async function* leftOutputs(
  prepared: readonly PreparedEpoch[],
  state: SinkState,
): AsyncGenerator<LeftOutputs> {
  for (const { epoch, token } of prepared) {
    const { first, next } = stretchIn(token) ?? { first: 0, next: 0 }
    for (let from = first; from < next; from += GIVEN_AT_ONCE) {
      const until = Math.min(next, from + GIVEN_AT_ONCE)
      const outputs: JsonValue[] = []
      // Those in front were acknowledged: what is left is the end of a stretch.
      let index = until - first
      for await (const [number, output] of state.read(from, until)) {
        if (outputs.length === 0) index = number - first
        outputs.push(output)
      }
      yield { epoch, index, outputs, from, until }
    }
  }
}

function refusal(jobName: string): StateError {
  return new StateError('INCOMPATIBLE', {
    what: `the sink of job '${jobName}'`,
    found: 'outputs that wait in the state for a sink that keeps them there',
    supported: 'that sink, or one that may be given outputs again, as functionSink: it has these first',
  })
}
