// What a value is, told by its shape. A process has more than one realm: jest, vm contexts and some bundles run this code with
// globals of their own, while Node's errors, a caller's bytes and signals come from another. `instanceof` of a built-in says no
// to all of those. And a process may hold two copies of this package: what the package itself makes carries a brand.

const prototypeOf = (value: object): object | null => Object.getPrototypeOf(value) as object | null

/** The hidden tag of typed arrays: a getter that answers with the class's name for those of any realm, and for nothing else. */
const tagOfTypedArray = Object.getOwnPropertyDescriptor(
  prototypeOf(Uint8Array.prototype) ?? {},
  Symbol.toStringTag,
)?.get

/** Whether a value is a `Uint8Array` (or a `Buffer`) of whatever realm. */
export function isBytes(value: unknown): value is Uint8Array {
  return isLocalBytes(value) || tagOfTypedArray?.call(value) === 'Uint8Array'
}

/** The same for bytes of this realm alone: told without a call, so it is what is asked first where every nanosecond counts. */
export function isLocalBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array
}

/** Whether a value is a `Date` of whatever realm. */
export function isDate(value: unknown): value is Date {
  return Object.prototype.toString.call(value) === '[object Date]'
}

/** Whether memory is an `ArrayBuffer`, which one thread has to itself, and not a `SharedArrayBuffer`. */
export function isArrayBuffer(buffer: ArrayBufferLike): buffer is ArrayBuffer {
  return Object.prototype.toString.call(buffer) === '[object ArrayBuffer]'
}

/** Whether a value has what is read of an error here: a name and a message. A `DOMException` has, as errors of any realm. */
export function isErrorLike(value: unknown): value is Error {
  return isReadable(
    () => isObject(value) && typeof value['message'] === 'string' && typeof value['name'] === 'string',
  )
}

/** Whether a value can be listened to as an `AbortSignal`. */
export function isAbortSignal(value: unknown): value is AbortSignal {
  return (
    isObject(value) &&
    typeof value['aborted'] === 'boolean' &&
    typeof value['addEventListener'] === 'function' &&
    typeof value['removeEventListener'] === 'function'
  )
}

/** Whether a value is a promise, of whatever realm or library. */
export function isThenable(value: unknown): boolean {
  return isObject(value) && typeof value['then'] === 'function'
}

/** Whether an object is a plain one, `{…}` in any realm: its prototype is the end of the chain, or there is none. */
export function isPlainObject(value: object): boolean {
  const prototype = prototypeOf(value)
  return prototype === null || (prototypeOf(prototype) === null && Object.hasOwn(prototype, 'hasOwnProperty'))
}

/** Whether a value carries this brand: it was made by a copy of this package, this one or another. */
export function hasBrand(value: unknown, brand: symbol): boolean {
  return isReadable(() => isObject(value) && value[brand] === true)
}

/** Marks all objects of a class with a brand, where neither `Object.keys` nor a printout shows it. */
export function brandClass({ prototype }: { readonly prototype: object }, brand: symbol): void {
  Object.defineProperty(prototype, brand, { value: true })
}

/** What `look` says; false where it throws. A callback may throw anything, also an object whose getters throw, or a revoked proxy. */
function isReadable(look: () => boolean): boolean {
  try {
    return look()
  } catch {
    return false
  }
}

function isObject(value: unknown): value is Record<PropertyKey, unknown> {
  return typeof value === 'object' && value !== null
}
