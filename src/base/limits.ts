/** Longest key, in bytes. The empty key is a key. */
export const MAX_KEY_BYTES = 2_048

/** Largest value, in bytes (64 MiB). The empty value is a value. */
export const MAX_VALUE_BYTES: number = 64 * 1024 * 1024

/** Longest delay that the timers of JavaScript can wait for, in milliseconds. */
export const MAX_TIMER_MS: number = 2 ** 31 - 1
