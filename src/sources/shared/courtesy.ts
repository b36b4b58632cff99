import { settlesWithin } from '../../base/clock.js'
import { isErrorLike } from '../../base/shapes.js'
import type { Outage } from '../../remote/outage.js'

/** So long is waited for it. */
const COURTESY_MS = 1_000

/**
 * What a source does behind a cut for whoever watches it, or for the space that is taken elsewhere. Outputs of later cuts wait for it a second at most: then it
 * goes on beside them, and what later cuts would have done meanwhile is left to the one after that.
 */
export class Courtesy {
  readonly #outage: Outage
  readonly #passes: (error: Error) => boolean
  #isUnderWay = false

  /** Failures that pass are left to a later cut; of others the outage makes an error. */
  constructor(outage: Outage, passes: (error: Error) => boolean) {
    this.#outage = outage
    this.#passes = passes
  }

  async show(operation: string, work: () => Promise<unknown>): Promise<void> {
    if (this.#isUnderWay) return
    this.#isUnderWay = true
    const shown = this.#shown(operation, work).finally(() => {
      this.#isUnderWay = false
    })
    if (await settlesWithin(shown, COURTESY_MS)) await shown
  }

  async #shown(operation: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (isErrorLike(error) && this.#passes(error)) return
      await this.#outage.failed(operation, error)
    }
  }
}
