import { StateError } from './errors.js'

/** Throws `ABORTED` once the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, operation: string): void {
  if (signal?.aborted) throw new StateError('ABORTED', { operation }, { cause: signal.reason })
}

/**
 * What work comes to, or, as soon as the signal fires, a rejection with `reason`: then nobody waits for the work any more. One that has failed
 * before is heard first. Nothing of the work stays with the signal: a race with one promise that is there for long would keep what
 * all that was ever raced with it has come to.
 */
export async function orAborted<Result>(
  work: Promise<Result>,
  signal: AbortSignal,
  reason: () => unknown,
): Promise<Result> {
  let end = () => {}
  const aborted = new Promise<never>((_, reject) => {
    end = () => reject(reason())
  })
  if (signal.aborted) end()
  signal.addEventListener('abort', end, { once: true })
  return await Promise.race([work, aborted]).finally(() => signal.removeEventListener('abort', end))
}

/**
 * What work comes to that is given a signal which fires as soon as one of these does. Nothing stays with them when it is over, as it
 * does of each signal that `AbortSignal.any` makes of them, on Node 20 to 24.
 */
export async function underEither<Result>(
  signals: readonly AbortSignal[],
  work: (either: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const either = new AbortController()
  const end = () => either.abort(signals.find(({ aborted }) => aborted)?.reason)
  if (signals.some(({ aborted }) => aborted)) end()
  for (const signal of signals) signal.addEventListener('abort', end, { once: true })
  try {
    return await work(either.signal)
  } finally {
    for (const signal of signals) signal.removeEventListener('abort', end)
  }
}

/**
 * What work comes to that ends by itself once `giveUp` was called, which is done as soon as the signal fires. `ABORTED` where it has fired before, or before
 * the work was over.
 */
export async function unlessGivenUp<Result>(
  signal: AbortSignal | undefined,
  operation: string,
  work: () => Promise<Result>,
  giveUp: () => void,
): Promise<Result> {
  throwIfAborted(signal, operation)
  signal?.addEventListener('abort', giveUp, { once: true })
  try {
    const result = await work()
    throwIfAborted(signal, operation)
    return result
  } finally {
    signal?.removeEventListener('abort', giveUp)
  }
}
