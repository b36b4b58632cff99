import { expect, it } from 'vitest'
import { shownKey } from './state-context.js'

it('a key in a message is read by people, its bytes as hexadecimal digits', () => {
  expect(shownKey(Uint8Array.of(1, 0xff))).toBe('"0x01ff"')
  expect(shownKey(Buffer.from('ab'))).toBe('"0x6162"')
  expect(shownKey(['acme', Buffer.from([0]), 5n])).toBe('["acme","0x00","5n"]')
  expect(shownKey(new Uint8Array(2_048))).toBe(`"0x${'0'.repeat(117)}…`)
  expect(shownKey(undefined)).toBe('undefined')
})
