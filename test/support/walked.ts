import type { SortedKeys } from '../../src/log/order/sorted-keys.js'

/** The addresses of keys in order, as a walk gives them. */
export function walked(keys: SortedKeys, reverse: boolean = false): number[] {
  const addresses: number[] = []
  const walk = keys.walk(reverse)
  for (let address = walk.next(); address !== 0; address = walk.next()) addresses.push(address)
  return addresses
}
