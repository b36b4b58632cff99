import type { StateBackend } from '../../index.js'

/** Savers over one backend take turns: each reads before it writes. */
const turnsByBackend = new WeakMap<StateBackend, Turns>()

export function turnsOf(backend: StateBackend): Turns {
  const turns = turnsByBackend.get(backend) ?? new Turns()
  turnsByBackend.set(backend, turns)
  return turns
}

/** Changes of each thread one after the other, in the order of the calls. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>()

  /** Makes a change with what it needs, once all before it have ended. */
  async run<Needed>(
    thread: string,
    needed: Needed | Promise<Needed>,
    change: (needed: Needed) => Promise<void>,
  ): Promise<void> {
    // What is waited for together has a listener from the start, should it fail while others have their turn.
    const before = this.#last.get(thread)
    const result = Promise.all([needed, before]).then(([it]) => change(it))
    // Whoever comes next begins after a change that fails, too, and after those before it.
    const ended = Promise.allSettled([before, result])
    this.#last.set(thread, ended)
    try {
      await result
    } finally {
      await ended
      if (this.#last.get(thread) === ended) this.#last.delete(thread)
    }
  }
}
