import { expect, it } from 'vitest'
import { decodeEach } from './decode-each.js'

it('J7: what cannot be decoded has its place and its reason, also one behind the other and at both ends', () => {
  const { events, failures } = decodeEach(['!a', '1', '!b', '!c', '2', '!d'], (text) => {
    if (text.startsWith('!')) throw new Error(text)
    return Number(text)
  })
  expect(events).toEqual([undefined, 1, undefined, undefined, 2, undefined])
  expect(Array.from(failures, ([place, { message }]) => [place, message])).toEqual([
    [0, '!a'],
    [2, '!b'],
    [3, '!c'],
    [5, '!d'],
  ])
  expect(decodeEach([], Number)).toEqual({ events: [], failures: new Map() })
})
