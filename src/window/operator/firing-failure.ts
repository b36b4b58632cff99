import { reasonOf } from '../../base/errors.js'
import type { TimeWindow } from '../assign/assigner.js'

/** What has failed while a window fired: whoever hears of it is told which one, as that was no fault of an event at hand. */
export class FiringFailure extends Error {
  override readonly name = 'FiringFailure'
  readonly window: TimeWindow | undefined
  readonly key: unknown

  private constructor(window: TimeWindow | undefined, key: unknown, cause: unknown) {
    super(reasonOf(cause), { cause })
    this.window = window
    this.key = key
  }

  /** One that has been told already stays as it is. A key that cannot be read is left out. */
  static of(error: unknown, window: TimeWindow | undefined, readKey: () => unknown): FiringFailure {
    if (error instanceof FiringFailure) return error
    let key: unknown
    try {
      key = readKey()
    } catch {
      // It is its value that has failed, or the key itself, which the error tells.
    }
    return new FiringFailure(window, key, error)
  }
}
