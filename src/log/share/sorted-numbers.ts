// Numbers in ascending order (a radix sort from the lowest bits up): addresses, in a thread of which nobody waits for a turn.
// What stands beside numbers moves with them in `order/number-sort.ts`, and that pauses.

/** Below this many, the sort of the language is as quick. */
const MANY = 16 * 1024
const DIGIT_BITS = 11
/** Of 32 bits. */
const DIGITS = 3
const VALUES: number = 1 << DIGIT_BITS
const MASK: number = VALUES - 1

/** The numbers in ascending order, in the same array or another one; what is in the given one is lost then. */
export function sortedNumbers(numbers: Uint32Array): Uint32Array {
  if (numbers.length < MANY) return numbers.sort()
  let source = numbers
  let target: Uint32Array = new Uint32Array(numbers.length)
  const places = countDigits(numbers)
  for (let digit = 0; digit < DIGITS; digit++) {
    const own = places.subarray(digit * VALUES, (digit + 1) * VALUES)
    // Where all have the same one, nothing is to be moved.
    if (!sumUp(own, numbers.length)) continue
    moveByDigit(source, target, digit * DIGIT_BITS, own)
    ;[source, target] = [target, source]
  }
  return source
}

/** Of each digit, how many numbers have each of its values. */
function countDigits(numbers: Uint32Array): Uint32Array {
  const counts = new Uint32Array(DIGITS * VALUES)
  for (let i = 0; i < numbers.length; i++) {
    const number = numbers[i] as number
    const low = number & MASK
    const middle = VALUES + ((number >>> DIGIT_BITS) & MASK)
    const high = 2 * VALUES + (number >>> (2 * DIGIT_BITS))
    counts[low] = (counts[low] as number) + 1
    counts[middle] = (counts[middle] as number) + 1
    counts[high] = (counts[high] as number) + 1
  }
  return counts
}

/** Makes places of counts; false where one value has all of them. */
function sumUp(places: Uint32Array, all: number): boolean {
  let place = 0
  for (let value = 0; value < VALUES; value++) {
    const count = places[value] as number
    if (count === all) return false
    places[value] = place
    place += count
  }
  return true
}

function moveByDigit(source: Uint32Array, target: Uint32Array, shift: number, places: Uint32Array): void {
  for (let i = 0; i < source.length; i++) {
    const number = source[i] as number
    const value = (number >>> shift) & MASK
    const place = places[value] as number
    places[value] = place + 1
    target[place] = number
  }
}
