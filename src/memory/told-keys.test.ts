import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { runs } from '../../test/support/long.js'
import { Slot } from '../base/slot.js'
import { HashIndex } from '../log/index/hash-index.js'
import { ManualClock } from '../testing/manual-clock.js'
import { MemoryStateBackend } from './memory-state-backend.js'

const bytes = (text: string) => Buffer.from(text)
const textOf = ({ bytes: shown, offset, length }: Slot) =>
  Buffer.from(shown.subarray(offset, offset + length)).toString()

/** Tells a backend of keys, all in one buffer, and looks them up by their places. */
class Teller {
  readonly #backend: MemoryStateBackend
  readonly #buffer = Buffer.alloc(4_096)
  #ends = Int32Array.of()
  readonly #slot = new Slot()

  constructor(backend: MemoryStateBackend) {
    this.#backend = backend
    // A buffer that keys come in again and again is known as such after some time.
    for (let i = 0; i < 100; i++) this.tell(['x', 'y'])
  }

  tell(keys: readonly string[]): void {
    let end = 0
    this.#ends = Int32Array.from(keys, (key) => {
      end += this.#buffer.write(key, end)
      return end
    })
    this.#backend.bringNear(this.#buffer, this.#ends, keys.length)
  }

  /** The value of the key that lies at one place in the buffer, which may be said to have been told at another one. */
  look(lies: number, told = lies): string | undefined {
    const offset = lies === 0 ? 0 : (this.#ends[lies - 1] as number)
    const key = { bytes: this.#buffer, offset, length: (this.#ends[lies] as number) - offset }
    return this.#backend.peekToldSync(told, key, this.#slot) ? textOf(this.#slot) : undefined
  }

  writeBack(value: string): boolean {
    const buffer = bytes(value)
    const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    return this.#backend.writeBackSync(this.#slot, { bytes: buffer, view }, buffer.length)
  }
}

describe('a key that was told in advance', () => {
  it('is found without a search, and so is where its value is written back; one that is not there is sought', async () => {
    await using state = new MemoryStateBackend({ sweepIntervalMs: Infinity })
    const keys = Array.from({ length: 40 }, (_, i) => `${i}${'k'.repeat(i)}`)
    for (const key of keys) state.putSync(bytes(key), bytes(`of ${key}`))
    const teller = new Teller(state)
    const find = vi.spyOn(HashIndex.prototype, 'find')
    teller.tell([...keys, 'nobody'])
    for (const [i, key] of keys.entries()) {
      expect(teller.look(i)).toBe(`of ${key}`)
      expect(teller.writeBack(`to ${key}`)).toBe(true)
    }
    state.putSync(bytes('another'), bytes('one'))
    const searches = find.mock.calls.length
    for (const [i, key] of keys.entries()) expect(teller.look(i)).toBe(`to ${key}`)
    expect(searches, 'that of the other one').toBe(1)
    expect(find.mock.calls.length).toBe(searches)
    expect(teller.look(keys.length)).toBe(undefined)
    expect(find.mock.calls.length).toBe(searches + 1)
    find.mockRestore()
  })

  it.each([-1, 0.5, 1, 2, 40, 41, 1_000, Number.NaN, Infinity])(
    'is found at whatever place it is said to have been told, %d',
    async (told) => {
      await using state = new MemoryStateBackend()
      for (const key of ['', 'a', 'b']) state.putSync(bytes(key), bytes(`of ${key}`))
      const teller = new Teller(state)
      teller.tell(['', 'a', 'b', 'nobody'])
      expect([0, 1, 2, 3].map((place) => teller.look(place, told))).toEqual([
        'of ',
        'of a',
        'of b',
        undefined,
      ])
    },
  )

  it('is refused where its stretch or the slot is none, as by any look', async () => {
    await using state = new MemoryStateBackend()
    const teller = new Teller(state)
    state.putSync(bytes('a'), bytes('1'))
    teller.tell(['a'])
    const key = { bytes: bytes('abc'), offset: 0, length: 1 }
    const wrong = [
      { ...key, offset: -1 },
      { ...key, length: 9 },
      { ...key, bytes: 'a' as never },
    ]
    const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT' })
    for (const each of wrong) expect(() => state.peekToldSync(0, each, new Slot())).toThrow(refused)
    expect(() => state.peekToldSync(0, key, null as never)).toThrow(refused)
    await state.close()
    expect(() => teller.look(0)).toThrow(expect.objectContaining({ code: 'CLOSED' }))
  })

  it('shows what any look would, whatever has come between', () => {
    const name = fc.constantFrom('a', 'b', 'cc', 'ccc', 'cccc', 'ccccc', 'a longer key than any of those')
    const value = fc.constantFrom('1', '22', 'a value that takes more room than before')
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.tuple(fc.constant('look'), fc.nat(5), fc.option(fc.nat(9))) },
      {
        weight: 2,
        arbitrary: fc.tuple(fc.constant('tell'), fc.array(name, { minLength: 6, maxLength: 40 })),
      },
      { weight: 2, arbitrary: fc.tuple(fc.constant('put'), name, value, fc.constantFrom(5, Infinity)) },
      fc.tuple(fc.constant('delete'), name),
      fc.tuple(fc.constantFrom('snapshot', 'close', 'advance', 'sweep', 'many', 'clear', 'range')),
    )
    fc.assert(
      fc.property(
        fc.array(step as fc.Arbitrary<readonly unknown[]>, { maxLength: 60, size: 'max' }),
        (steps) => {
          const clock = new ManualClock(1_000)
          const state = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
          const plain = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
          const teller = new Teller(state)
          let told = ['a', 'b', 'cc', 'ccc', 'cccc', 'ccccc']
          teller.tell(told)
          const snapshots: { closeSync(): void }[] = []
          const both = (act: (each: MemoryStateBackend) => void) => [state, plain].forEach(act)
          for (const [kind, first, second, third] of steps) {
            if (kind === 'look') {
              const key = bytes(told[first as number] as string)
              const found = plain.getSync(key)
              const seen = teller.look(first as number, (second ?? first) as number)
              expect(seen).toBe(found === undefined ? undefined : Buffer.from(found).toString())
              if (found === undefined) continue
              const written = bytes('x'.repeat(found.length))
              if (!teller.writeBack(written.toString())) state.putSync(key, written)
              plain.putSync(key, written)
            } else if (kind === 'tell') {
              told = first as string[]
              teller.tell(told)
            } else if (kind === 'put') {
              const options = { ttlMs: third as number }
              both((each) => each.putSync(bytes(first as string), bytes(second as string), options))
            } else if (kind === 'delete') both((each) => each.deleteSync(bytes(first as string)))
            else if (kind === 'snapshot') both((each) => snapshots.push(each.snapshotSync({ track: true })))
            else if (kind === 'close') for (const each of snapshots.splice(0, 2)) each.closeSync()
            else if (kind === 'advance') clock.advance(3)
            else if (kind === 'sweep') both((each) => each.sweep())
            else if (kind === 'clear') both((each) => void each.clear())
            else if (kind === 'range') both((each) => each.deleteRangeSync({ gte: bytes('c') }))
            else {
              both((each) => {
                for (let i = 0; i < 50; i++) each.putSync(bytes(`other ${i}`), bytes('x'.repeat(i)))
                for (let i = 0; i < 50; i += 2) each.deleteSync(bytes(`other ${i}`))
              })
            }
          }
          const content = (each: MemoryStateBackend) =>
            Array.from(each.scanSync(), ([key, found]) => `${Buffer.from(key)}=${Buffer.from(found)}`)
          expect(content(state)).toEqual(content(plain))
          const { puts, bytesWritten, entries } = plain.stats()
          expect(state.stats()).toMatchObject({ puts, bytesWritten, entries })
        },
      ),
      { numRuns: runs(5_000, 300) },
    )
  })
})
