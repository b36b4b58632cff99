import { pause } from './clock.js'
import { isStateError } from './errors.js'

/** How often somebody who waits for an owner to let go asks again, in milliseconds. */
const ASK_AGAIN_MS = 50

/**
 * Tries to become the owner of something until it is `FENCED` no longer, for at most `waitMs`, which is 0 for one attempt.
 * Rejects with the last refusal, and at once with any other error. `wait` waits so many milliseconds; default: the machine's time.
 */
export async function waitForOwner<T>(
  acquire: () => Promise<T>,
  waitMs: number,
  wait: (ms: number) => Promise<unknown> = pause,
): Promise<T> {
  const startedAtMs = performance.now()
  for (let waitedMs = 0; ; ) {
    try {
      return await acquire()
    } catch (error) {
      // An attempt itself takes time: it may look on for a while whether the owner lives.
      const spentMs = Math.max(waitedMs, performance.now() - startedAtMs)
      if (!isStateError(error, 'FENCED') || spentMs >= waitMs) throw error
      const pauseMs = Math.min(ASK_AGAIN_MS, waitMs - spentMs)
      await wait(pauseMs)
      waitedMs = spentMs + pauseMs
    }
  }
}
