// Functions of a job's owner are called at once, and are done when they return: the context that they were given is that of the next event then. The
// compiler takes an asynchronous function for one that returns nothing.

import { isThenable } from '../base/shapes.js'

/** Throws where a function has returned a promise: what it would still do would be done to the states of another key, or behind the cut. */
export function requireDone(returned: unknown, name: string): void {
  if (returned === undefined || !isThenable(returned)) return
  letGo(returned)
  throw new Error(`${name} returned a promise: it must be done when it returns`)
}

/** Throws where an output is a promise, which a sink would take for an object without fields. */
export function requireGiven(outputs: readonly unknown[]): void {
  for (const output of outputs) {
    // Not by `isThenable`, which is given everything: here most are of one shape, and it takes 2 ns instead of 7.
    if (typeof output !== 'object' || output === null) continue
    if (typeof (output as { readonly then?: unknown }).then !== 'function') continue
    letGo(output)
    throw new Error('an output is a promise: it must be there when it is put out')
  }
}

/** What it rejects with is told to nobody: the failure here is. */
function letGo(promise: unknown): void {
  ;(promise as PromiseLike<unknown>).then(undefined, () => {})
}
