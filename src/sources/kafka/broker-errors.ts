// What an error of a broker means. Clients wrap what a broker has said; its code is somewhere in there.

/** Codes of the Kafka protocol. */
export const UNKNOWN_TOPIC_OR_PARTITION = 3
export const UNKNOWN_TOPIC_ID = 100
export const OFFSET_OUT_OF_RANGE = 1
const INVALID_PRODUCER_EPOCH = 47
const PRODUCER_FENCED = 90

/** What does not pass by itself: messages that are too large, what is not allowed, what the broker cannot do. */
const HOPELESS: ReadonlySet<unknown> = new Set([10, 17, 18, 29, 30, 31, 33, 34, 35, 53, 54, 58])

interface BrokerError {
  /** In kafkajs. */
  readonly code?: unknown
  /** In @platformatic/kafka. */
  readonly apiCode?: unknown
  readonly cause?: unknown
  readonly errors?: unknown
}

export function hasCode(error: unknown, ...codes: readonly number[]): boolean {
  return someError(
    error,
    ({ code, apiCode }) => codes.includes(code as number) || codes.includes(apiCode as number),
  )
}

/** Somebody else has opened a producer of the same transactional id. */
export function isFenced(error: unknown): boolean {
  return hasCode(error, INVALID_PRODUCER_EPOCH, PRODUCER_FENCED)
}

/** Whether making the call again may help. */
export function mayPass(error: unknown): boolean {
  return !someError(error, ({ code, apiCode }) => HOPELESS.has(code) || HOPELESS.has(apiCode))
}

/** Whether an error, or one of those that it comes from, is such a one. */
function someError(error: unknown, isSuch: (error: BrokerError) => boolean, depth = 0): boolean {
  if (typeof error !== 'object' || error === null || depth > 10) return false
  const { cause, errors } = error as BrokerError
  if (isSuch(error)) return true
  const others: readonly unknown[] = Array.isArray(errors) ? errors : []
  return [cause, ...others].some((each) => someError(each, isSuch, depth + 1))
}
