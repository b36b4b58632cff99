import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { MemoryStateBackend } from '../src/index.js'
import { boundedDisorder, defineJob } from '../src/job.js'
import type * as ownState from '../src/state.js'
import { defineState, int32, StateStore, value as single, struct, tuple, utf8 } from '../src/state.js'
import { testJob } from '../src/testing.js'
import type * as ownWindow from '../src/window.js'
import { combined, count, session, tumbling, type WindowResult, windowed } from '../src/window.js'
import { type InstalledCopy, installedCopy } from './support/another-copy.js'

// What one copy of the package has made is used by the other one, as where an application and a library each have their own.

let copy: InstalledCopy
let state: typeof ownState
let window: typeof ownWindow

beforeAll(async () => {
  copy = await installedCopy()
  state = (await copy.load('state')) as typeof state
  window = (await copy.load('window')) as typeof window
})
afterAll(() => copy.remove())

interface View {
  readonly page: string
  readonly at: number
}

/** So many that new ones are appended to those that are in order. */
const PAGES = 200
const views: View[] = Array.from({ length: 1_000 }, (_, i) => ({ page: `page ${(i * 7) % PAGES}`, at: i }))

describe('two copies of the package', () => {
  it('come to the same by aggregates of each other, alone and beside others, in windows of each other', async () => {
    expect(window.count).not.toBe(count)
    const pages = window.distinctCount(state.utf8, ({ page }: View) => page)
    const both = combined({ views: count(), pages })
    type Both = { readonly views: number; readonly pages: number }
    for (const windows of [
      window.tumbling({ sizeMs: 10_000 }),
      session({ gapMs: 5 }),
      tumbling({ sizeMs: 10_000 }),
    ]) {
      const job = defineJob<View, number | Both>()({
        name: 'views',
        key: () => 'all',
        timestamp: ({ at }) => at,
        time: { watermarks: boundedDisorder(0) },
        schema: defineState({ key: utf8, states: {} }),
        windows: {
          alone: windowed({
            windows,
            aggregate: pages,
            output: ({ value }: WindowResult<string, number>) => value,
          }),
          both: windowed({
            windows,
            aggregate: both,
            output: ({ value }: WindowResult<string, Both>) => value,
          }),
        },
      })
      expect((await testJob(job, views)).outputs).toEqual([PAGES, { views: 1_000, pages: PAGES }])
    }
  })

  it.each([
    ['a key', () => tuple(state.utf8, state.int32), () => int32, ['k', 'no number'], 1],
    ['a value', () => utf8, () => struct({ count: state.int32 }), 'k', { count: 'no number' }],
    ['a field', () => utf8, () => state.struct({ count: state.int32 }), 'k', { count: 'no number' }],
  ])('tell with a code that %s cannot be written', async (_what, key, content, wrongKey, wrongValue) => {
    const backend = new MemoryStateBackend()
    const store = await StateStore.open(
      backend,
      defineState({
        key: key() as unknown as typeof utf8,
        states: { v: single(content() as unknown as typeof int32) },
      }),
    )
    const put = () => store.v.put(wrongKey as string, wrongValue as number)
    expect(put).toThrow(expect.objectContaining({ code: 'SERIALIZATION_FAILED' }))
    await backend.close()
  })
})
