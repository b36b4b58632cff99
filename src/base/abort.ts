import { StateError } from './errors.js'

/** Throws `ABORTED` once the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, operation: string): void {
  if (signal?.aborted) throw new StateError('ABORTED', { operation }, { cause: signal.reason })
}
