// Codecs of a user's own throw what they like: whoever reads or writes is told of which state and key all the same.

import { describe, expect, it } from 'vitest'
import { asynchronousBackend } from '../../../test/support/asynchronous-backend.js'
import { MAX_VALUE_BYTES } from '../../base/limits.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { bytes, utf8 } from '../codec/byte-strings.js'
import type { ByteReader, ByteWriter } from '../codec/bytes.js'
import type { FixedCodec, KeyCodec } from '../codec/codec.js'
import { uint32 } from '../codec/numbers.js'
import { struct } from '../codec/struct.js'
import { defineState } from '../schema/define-state.js'
import { StateStore } from '../store.js'
import { aggregating, index, list, map, reducing, value } from './definitions.js'
import { from } from './migration.js'

/** Texts; `bad` cannot be written, and `unreadable` not be read. */
const mine: KeyCodec<string> = {
  descriptor: 'mine',
  fixedBytes: undefined,
  isOpenEnded: true,
  write: (text, to) => write(text, to),
  read: (reader) => read(utf8.read(reader)),
  writeKey: (text, to) => {
    if (text === 'bad') throw new Error('no text of mine')
    utf8.writeKey(text, to)
  },
  readKey: (reader) => read(utf8.readKey(reader)),
}

function write(text: string, to: ByteWriter): void {
  if (text === 'bad') throw new Error('no text of mine')
  utf8.write(text, to)
}

function read(text: string): string {
  if (text === 'unreadable') throw new Error('no bytes of mine')
  return text
}

/** Numbers of four bytes; 13 cannot be written, 14 not be read. */
const mineFixed: FixedCodec<number> = {
  descriptor: 'mine of four bytes',
  fixedBytes: 4,
  isOpenEnded: false,
  write: (number, to) => mineFixed.store(to.view, to.reserve(4), number),
  read: (reader: ByteReader) => mineFixed.load(reader.view, reader.take(4)),
  load: (view, at) => {
    const number = view.getUint32(at)
    if (number === 14) throw new Error('no bytes of mine')
    return number
  },
  store: (view, at, number) => {
    if (number === 13) throw new Error('no number of mine')
    view.setUint32(at, number)
  },
}

const schema = defineState({
  key: utf8,
  states: {
    one: value(mine),
    many: map(utf8, mine),
    row: list(mine),
    fields: value(struct({ n: mineFixed })),
    longest: reducing(mine, (left, right) => (left.length > right.length ? left : right)),
    joined: aggregating(mine, (text: string, more: string) => text + more, { default: () => '' }),
    byText: value(mine, { indexes: { text: index(mine, (text: string) => (text === '' ? 'bad' : text)) } }),
    dying: value(mine, { ttl: { afterMs: 10, time: 'event' } }),
  },
})

async function open() {
  return await StateStore.open(new MemoryStateBackend(), schema)
}

const unreadable = (what: string, reason: string = 'no bytes of mine') =>
  expect.objectContaining({
    code: 'DESERIALIZATION_FAILED',
    details: { what, reason },
    cause: expect.objectContaining({ message: 'no bytes of mine' }),
  })
const unwritable = (what: string, reason: string = 'no text of mine') =>
  expect.objectContaining({ code: 'SERIALIZATION_FAILED', details: { what, reason } })

describe('a codec of a user’s own that throws plain errors', () => {
  it('names state and key where it cannot read', async () => {
    const store = await open()
    store.at(1)
    store.one.put('a', 'unreadable')
    store.longest.add('a', 'unreadable')
    store.joined.add('a', 'unreadable')
    store.dying.put('a', 'unreadable')
    store.many.put('a', 'm', 'unreadable')
    store.row.append('a', 'unreadable')
    const ofOne = unreadable('state \'one\', key "a"')
    expect(() => store.one.get('a')).toThrow(ofOne)
    expect(() => [...store.one.entries()]).toThrow(ofOne)
    expect(() => store.one.update('a', (text) => `${text}!`)).toThrow(ofOne)
    expect(() => store.longest.add('a', 'x')).toThrow(unreadable('state \'longest\', key "a"'))
    expect(() => store.joined.add('a', 'x')).toThrow(unreadable('state \'joined\', key "a"'))
    expect(() => store.dying.get('a')).toThrow(unreadable('state \'dying\', key "a"'))
    const ofMany = unreadable('state \'many\', key "a", map key "m"')
    expect(() => store.many.get('a', 'm')).toThrow(ofMany)
    expect(() => [...store.many.entries('a')]).toThrow(ofMany)
    expect(() => [...store.many.all()]).toThrow(ofMany)
    const ofRow = unreadable('state \'row\', key "a"')
    expect(() => store.row.at('a', 0)).toThrow(ofRow)
    expect(() => store.row.get('a')).toThrow(ofRow)
    expect(() => [...store.row.entries()]).toThrow(ofRow)
  })

  it('names them over an asynchronous engine', async () => {
    const store = await StateStore.open(asynchronousBackend().backend, schema)
    await store.one.put('a', 'unreadable')
    await expect(store.one.get('a')).rejects.toEqual(unreadable('state \'one\', key "a"'))
    await expect(store.one.put('a', 'bad')).rejects.toEqual(unwritable('state \'one\', key "a"'))
  })

  it('names the field of a struct, wherever it is read or written', async () => {
    const store = await open()
    store.fields.put('a', { n: 14 })
    const failed = unreadable('state \'fields\', key "a"', '.n: no bytes of mine')
    expect(() => store.fields.get('a')).toThrow(failed)
    expect(() => store.fields.update('a', (fields) => void fields.n++)).toThrow(failed)
    const refused = unwritable('state \'fields\', key "a"', '.n: no number of mine')
    expect(() => store.fields.put('a', { n: 13 })).toThrow(refused)
    store.fields.put('a', { n: 12 })
    expect(() => store.fields.update('a', (fields) => void fields.n++)).toThrow(refused)
    expect(store.fields.get('a')).toEqual({ n: 12 })
  })

  it('names state and key where it does not take a key, a map key or what an index derives', async () => {
    const keyed = await StateStore.open(
      new MemoryStateBackend(),
      defineState({ key: mine, states: { one: value(uint32), many: map(mine, uint32) } }),
    )
    expect(() => keyed.one.put('bad', 1)).toThrow(unwritable('state \'one\', key "bad"'))
    expect(() => keyed.one.get('bad')).toThrow(unwritable('state \'one\', key "bad"'))
    expect(() => keyed.many.put('a', 'bad', 1)).toThrow(unwritable('state \'many\', key "a", map key "bad"'))
    const store = await open()
    expect(() => store.byText.put('a', '')).toThrow(unwritable('state \'byText\', key "a"'))
    expect(store.byText.get('a')).toBeUndefined()
  })

  it('passes on what a function of a change or of a migration throws, which is none of its own', async () => {
    const store = await open()
    store.one.put('a', 'x')
    const thrown = new Error('of the function')
    const fails = () => {
      throw thrown
    }
    expect(() => store.one.update('a', fails)).toThrow(thrown)
    expect(() => store.fields.update('a', fails)).toThrow(thrown)
    const backend = new MemoryStateBackend()
    await StateStore.open(backend, defineState({ key: utf8, states: { one: value(uint32) } })).then((first) =>
      first.one.put('a', 1),
    )
    const next = defineState({
      key: utf8,
      states: { one: value(mine, { migrations: [from(uint32, fails)] }) },
    })
    const later = await StateStore.open(backend, next)
    expect(() => later.one.get('a')).toThrow(thrown)
    await expect(later.migrate()).rejects.toBe(thrown)
  })

  it('names state and key of what an earlier version has written', async () => {
    const backend = new MemoryStateBackend()
    const first = await StateStore.open(
      backend,
      defineState({ key: utf8, states: { one: value(mine), many: map(utf8, mine), row: list(mine) } }),
    )
    first.one.put('a', 'unreadable')
    first.many.put('a', 'm', 'unreadable')
    first.row.append('a', 'unreadable')
    const migrations = [from(mine, (text: string) => text.length)] as const
    const later = await StateStore.open(
      backend,
      defineState({
        key: utf8,
        states: {
          one: value(uint32, { migrations }),
          many: map(utf8, uint32, { migrations }),
          row: list(uint32, { migrations }),
        },
      }),
    )
    expect(() => later.one.get('a')).toThrow(unreadable('state \'one\', key "a"'))
    expect(() => later.one.update('a', () => 1)).toThrow(unreadable('state \'one\', key "a"'))
    expect(() => later.many.get('a', 'm')).toThrow(unreadable('state \'many\', key "a", map key "m"'))
    expect(() => later.row.get('a')).toThrow(unreadable('state \'row\', key "a"'))
    await expect(later.migrate()).rejects.toEqual(unreadable('state \'one\', key "a"'))
  })

  it('names the state where a migration of everything under a key cannot read the key', async () => {
    const backend = new MemoryStateBackend()
    const before = defineState({ key: mine, states: { row: list(uint32), heads: list(mine) } })
    const first = await StateStore.open(backend, before)
    first.row.append('unreadable', 1)
    const row = value(uint32, { migrations: [from(before.states.row, ([number = 0]) => number)] })
    const opening = StateStore.open(backend, defineState({ key: mine, states: { row }, drop: ['heads'] }), {
      migrate: true,
    })
    await expect(opening).rejects.toEqual(unreadable("a key of state 'row'"))
  })
})

describe('a value above the largest length', () => {
  it('is refused with them where the engine takes less, also one across a network', async () => {
    const { backend } = asynchronousBackend()
    Object.defineProperty(backend, 'supports', { value: { ...backend.supports, maxValueBytes: 1_000 } })
    const states = { one: value(bytes), row: list(bytes) }
    const store = await StateStore.open(backend, defineState({ key: utf8, states }))
    const refused = (name: string) =>
      unwritable(`state '${name}', key "a"`, 'a value of 1001 bytes; the limit is 1000')
    await store.one.put('a', new Uint8Array(1_000))
    await expect(store.one.put('a', new Uint8Array(1_001))).rejects.toEqual(refused('one'))
    await expect(store.row.append('a', new Uint8Array(1_001))).rejects.toEqual(refused('row'))
  })

  it('is refused with the names of its state and key', async () => {
    const store = await StateStore.open(
      new MemoryStateBackend(),
      defineState({
        key: utf8,
        states: {
          one: value(bytes),
          many: map(utf8, bytes),
          row: list(bytes),
          dying: value(bytes, { ttl: { afterMs: 10, time: 'event' } }),
        },
      }),
    )
    const most = new Uint8Array(MAX_VALUE_BYTES)
    const more = new Uint8Array(MAX_VALUE_BYTES + 1)
    const reason = (limit: number) => expect.stringMatching(new RegExp(`bytes; the limit is ${limit}$`))
    const refused = (what: string, limit = MAX_VALUE_BYTES) =>
      expect.objectContaining({ code: 'SERIALIZATION_FAILED', details: { what, reason: reason(limit) } })
    store.one.put('a', most)
    expect(() => store.one.put('a', more)).toThrow(refused('state \'one\', key "a"'))
    expect(() => store.one.update('a', () => more)).toThrow(refused('state \'one\', key "a"'))
    expect(store.one.get('a')).toHaveLength(MAX_VALUE_BYTES)
    expect(() => store.many.put('a', 'm', more)).toThrow(refused('state \'many\', key "a", map key "m"'))
    expect(() => store.row.append('a', more)).toThrow(refused('state \'row\', key "a"'))
    expect(store.row.length('a')).toBe(0)
    store.at(1)
    expect(() => store.dying.put('a', most)).toThrow(refused('state \'dying\', key "a"', MAX_VALUE_BYTES - 8))
  })
})
