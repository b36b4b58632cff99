import { anyText, rejectViolations, requireSettings, rules, violationsOf } from '../../base/options.js'
import type { EpochId, Sink, SinkWriter } from './sink.js'

/** An output with the id under which it may be given again after a crash: `lineage-number-index`. */
export interface IdentifiedOutput<Output> {
  readonly id: string
  readonly output: Output
}

export interface FunctionSinkOptions<Output> {
  /** For messages and figures. Default `'function'`. */
  readonly name?: string
  /** Takes outputs in order. What it resolves is safe where it went; what it rejects with ends the job. */
  readonly write: (outputs: readonly IdentifiedOutput<Output>[]) => void | Promise<void>
}

/**
 * Hands outputs to a function, at least once each: an output that was handed on after the last cut is handed on again after a crash,
 * under the same id where the job does the same again (J4).
 */
export function functionSink<Output>(options: FunctionSinkOptions<Output>): Sink<Output> {
  rejectViolations(
    violationsOf(options, {
      name: anyText,
      write: rules.function,
    }),
  )
  requireSettings(options, ['write'])
  const { name = 'function', write } = options
  return Object.freeze({
    name,
    guarantee: 'idempotent' as const,
    open: async (): Promise<SinkWriter<Output>> => ({
      write: async (outputs: readonly Output[], epoch: EpochId, firstIndex: number) => {
        await write(identified(outputs, epoch, firstIndex))
      },
      prepare: async () => null,
      commit: async () => {},
      close: async () => {},
    }),
  })
}

/** Outputs of an epoch, of which the first one is the `first`th, under their ids. */
export function identified<Output>(
  outputs: readonly Output[],
  { lineage, number }: EpochId,
  first: number,
): IdentifiedOutput<Output>[] {
  return outputs.map((output, i) => ({ id: `${lineage}-${number}-${first + i}`, output }))
}
