// Who calls from plain JavaScript, with nothing, `null` or something else, is told what is wrong by a code.

import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { isStateError } from '../src/index.js'
import { arraySource, functionSink, iterableSource, ndjsonFiles } from '../src/job.js'
import { enumeration, struct, tuple } from '../src/state.js'
import { calendar, combined, mean, min, sum } from '../src/window.js'

/** What engines and tests of one's own are made with: below what is checked, so that nothing is checked twice. */
const BELOW = new Set(['./engine', './testing'])

/** They tell what a backend can do, and are called with one. */
const OF_A_BACKEND = ['canStage', 'hasSnapshots', 'isInPlaceBackend', 'isReplaceable', 'isSyncBackend']
/** They take and give values, of which some fit no form. */
const OF_VALUES = ['hexOf', 'fromJson', 'toJson', 'describe']
const LEFT_OUT = new Set([...OF_A_BACKEND, ...OF_VALUES])

/** Classes that are made with `new`; others are opened by a call of theirs. */
const MADE = new Set(['HoldfastLevel', 'KeyvStore', 'MemoryStateBackend', 'FileCheckpointStorage'])

type Call = (argument: unknown) => unknown

async function entries(): Promise<[string, { readonly [name: string]: unknown }][]> {
  const { exports } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as {
    exports: { [name: string]: unknown }
  }
  const names = Object.keys(exports).filter((name) => name !== './package.json' && !BELOW.has(name))
  return await Promise.all(
    names.map(async (name): Promise<[string, { readonly [name: string]: unknown }]> => {
      const file = name === '.' ? 'index' : name.slice(2)
      return [name, (await import(`../src/${file}.ts`)) as { readonly [name: string]: unknown }]
    }),
  )
}

function callOf(name: string, exported: unknown): Call | undefined {
  if (typeof exported !== 'function' || LEFT_OUT.has(name)) return undefined
  const isClass = /^class\b/.test(Function.prototype.toString.call(exported))
  if (!isClass) return exported as Call
  return MADE.has(name)
    ? (argument) => new (exported as new (argument: unknown) => unknown)(argument)
    : undefined
}

/** What is thrown that says nothing by a code. */
async function untold(call: Call, argument: unknown): Promise<unknown> {
  try {
    await call(argument)
    return undefined
  } catch (error) {
    return isStateError(error) ? undefined : error
  }
}

describe('what is called from plain JavaScript', async () => {
  for (const [entry, exported] of await entries()) {
    it(`says what is wrong by a code: ${entry}`, async () => {
      for (const [name, each] of Object.entries(exported)) {
        const call = callOf(name, each)
        if (call === undefined) continue
        for (const argument of [undefined, null, 1, ''])
          expect(await untold(call, argument), `${name}(${String(argument)})`).toBe(undefined)
      }
    })
  }
})

it.each([
  ['sum', () => sum(undefined as never)],
  ['min', () => min(undefined as never)],
  ['mean', () => mean(1 as never)],
  ['combined', () => combined({ tokens: undefined } as never)],
  ['enumeration', () => (enumeration as (...names: string[]) => unknown)()],
  ['struct', () => struct({ tokens: null } as never)],
  ['tuple', () => tuple(null as never)],
  ['arraySource', () => arraySource('events' as never)],
  ['iterableSource', () => iterableSource({} as never)],
  ['functionSink', () => functionSink({} as never)],
  ['ndjsonFiles', () => ndjsonFiles({} as never)],
  ['calendar', () => calendar({ unit: 'day' } as never)],
])('what is missing, or of no use, is told when it is given, not when it is used: %s', (_name, call) => {
  expect(call).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})
