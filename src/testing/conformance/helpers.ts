import assert from 'node:assert/strict'
import { type EntryBlock, EntryBlockBuilder } from '../../backend/entry-block.js'
import type { StateBackend } from '../../backend/state-backend.js'
import type { StateSnapshot } from '../../backend/state-snapshot.js'
import type { BackendStats, Entry, PutOptions, ScanRange } from '../../backend/types.js'
import { compareBytes, describeKey } from '../../base/bytes.js'
import { isStateError, type StateError, type StateErrorCode } from '../../base/errors.js'
import { isBytes, isErrorLike } from '../../base/shapes.js'
import {
  type CaseContext,
  type ConformanceCapability,
  type ConformanceCase,
  promise,
  type TestedBackend,
} from './case.js'

type CounterName = Exclude<keyof BackendStats, 'entries' | 'openSnapshots'>

/** Bytes of a text, one per character: `bytes('\xff')` is one byte. */
export function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'))
}

/** The text that `bytes` makes these bytes of. */
export function text(value: Uint8Array): string {
  return Buffer.from(value).toString('latin1')
}

/** `length` bytes that differ from place to place and from seed to seed. */
export function pattern(length: number, seed = 0): Uint8Array {
  const filled = new Uint8Array(length)
  const period = Math.min(length, 65_521)
  for (let i = 0; i < period; i++) filled[i] = (i * 31 + (i >>> 8) * 17 + seed * 101 + 7) & 0xff
  for (let end = period; end > 0 && end < length; end *= 2)
    filled.copyWithin(end, 0, Math.min(end, length - end))
  return filled
}

/** Checks that a read gave exactly these bytes, as a `Uint8Array`. */
export function assertBytes(actual: unknown, expected: Uint8Array | undefined, what = 'the value'): void {
  if (expected === undefined) return assert.equal(actual, undefined, `${what} should be undefined`)
  assert.ok(isBytes(actual), `${what} should be a Uint8Array, is ${typeof actual}`)
  assert.equal(actual.length, expected.length, `${what} has the wrong length`)
  assert.ok(compareBytes(actual, expected) === 0, `${what} has other bytes than were written`)
}

/** Checks that a call gives a promise, and that it rejects with a `StateError` of this code. Returns the error. */
export async function rejects<Code extends StateErrorCode>(
  code: Code,
  call: () => unknown,
): Promise<StateError<Code>> {
  let returned: unknown
  try {
    returned = call()
  } catch (error) {
    return assert.fail(`should reject with ${code}, but threw before it returned a promise: ${error}`)
  }
  return rejection(code, returned)
}

/** Checks that something already begun ends by rejecting with this code. */
export async function rejection<Code extends StateErrorCode>(
  code: Code,
  begun: unknown,
): Promise<StateError<Code>> {
  try {
    await begun
  } catch (error) {
    if (isStateError(error, code)) return error
    return assert.fail(`should reject with ${code}, but rejected with ${describe(error)}`)
  }
  return assert.fail(`should reject with ${code}, but resolved`)
}

/** Checks that a scan or stream ends with this code, when it is made or when it is first stepped. */
export function scanRejects<Code extends StateErrorCode>(
  code: Code,
  start: () => AsyncIterable<unknown>,
): Promise<StateError<Code>> {
  const steps = async () => {
    for await (const _ of start());
  }
  return rejection(code, steps())
}

function describe(error: unknown): string {
  return isErrorLike(error) ? (error.stack ?? String(error)) : String(error)
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = []
  for await (const item of items) collected.push(item)
  return collected
}

/** The keys of a scan, as texts. */
export async function scannedKeys(from: StateBackend | StateSnapshot, range?: ScanRange): Promise<string[]> {
  return (await collect(from.scan(range))).map(([key]) => text(key))
}

/** Everything a backend or snapshot holds, as texts. */
export async function contents(from: StateBackend | StateSnapshot): Promise<[string, string][]> {
  return (await collect(from.scan())).map(([key, value]) => [text(key), text(value)])
}

/** Puts texts: key, value, key, value, … as an object. */
export async function fill(
  backend: StateBackend,
  entries: Readonly<Record<string, string>>,
  options?: PutOptions,
): Promise<void> {
  for (const [key, value] of Object.entries(entries)) await backend.put(bytes(key), bytes(value), options)
}

/** Checks that every read of a backend agrees that it holds exactly these entries, given in key order. */
export async function assertHolds(
  from: StateBackend | StateSnapshot,
  expected: readonly (readonly [string, string])[],
): Promise<void> {
  assert.deepEqual(await contents(from), expected, 'scan')
  assert.equal(await from.count(), expected.length, 'count')
  const keys = expected.map(([key]) => bytes(key))
  const values = expected.map(([, value]) => value)
  const many = await from.getMany(keys)
  assert.deepEqual(
    many.map((value) => value && text(value)),
    values,
    'getMany',
  )
  for (const [key, value] of expected) {
    assertBytes(await from.get(bytes(key)), bytes(value), `get ${describeKey(bytes(key))}`)
    assert.equal(await from.contains(bytes(key)), true, `contains ${describeKey(bytes(key))}`)
  }
  if ('listKeys' in from) {
    assert.deepEqual(
      (await from.listKeys(new Uint8Array(0))).map(text),
      expected.map(([key]) => key),
      'listKeys',
    )
  }
}

/** Counters of a backend that others may have used before: gives a function that tells by how much they have moved since. */
export function counting<Name extends CounterName>(
  backend: StateBackend,
  ...names: readonly Name[]
): () => Record<Name, number> {
  const before = backend.stats()
  return () => {
    const after = backend.stats()
    return Object.fromEntries(names.map((name) => [name, after[name] - before[name]])) as Record<Name, number>
  }
}

/** Checks that no read finds this key. */
export async function assertAbsent(backend: StateBackend, key: Uint8Array): Promise<void> {
  assertBytes(await backend.get(key), undefined, 'get')
  assert.deepEqual(await backend.getMany([key]), [undefined], 'getMany')
  assert.equal(await backend.contains(key), false, 'contains')
  const present = (listed: Uint8Array) => compareBytes(listed, key) === 0
  assert.equal((await backend.listKeys(key)).some(present), false, 'listKeys')
  assert.equal((await collect(backend.scan({ gte: key, lte: key }))).length, 0, 'scan')
}

/** An entry for {@link blockOf}: key, value, and when it expires. */
export type BlockEntry = readonly [key: string, value: string, expiresAtMs?: number]

/** One block of these entries, in the order given. */
export function blockOf(...entries: readonly BlockEntry[]): EntryBlock {
  const builder = new EntryBlockBuilder(64 * 1024)
  for (const [keyText, valueText, expiresAtMs = Infinity] of entries) {
    const key = bytes(keyText)
    const value = bytes(valueText)
    builder.add(key, value, expiresAtMs)
  }
  return builder.take()
}

/** The blocks as a stream. */
export async function* streamOf(...blocks: readonly EntryBlock[]): AsyncGenerator<EntryBlock, undefined> {
  yield* blocks
}

/** Takes entries off a scan one by one. */
export async function step(scan: AsyncIterator<Entry>): Promise<Entry> {
  const { done, value } = await scan.next()
  assert.ok(done !== true, 'the scan ended too early')
  return value
}

/**
 * Makes cases that run twice: once on what was just written, and once on what the engine has had time to settle. Both find the
 * entries a=1, b=2, c=3 and d=4.
 */
export function freshAndSettled(needs: readonly ConformanceCapability[]) {
  return (
    title: string,
    run: (context: CaseContext, backend: TestedBackend) => Promise<void>,
    more: readonly ConformanceCapability[] = [],
  ): ConformanceCase[] =>
    [false, true].map((settled) =>
      promise(
        settled ? `${title}, after a flush` : title,
        async (context) => {
          const backend = await context.open()
          await fill(backend, { a: '1', b: '2', c: '3', d: '4' })
          if (settled) await backend.flush()
          await run(context, backend)
        },
        [...needs, ...more],
      ),
    )
}
