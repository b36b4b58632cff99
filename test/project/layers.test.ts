import { describe, expect, it } from 'vitest'
import { parse, readSources } from './source-file.js'
import {
  ambientSources,
  barrels,
  builtinNamespaces,
  escapes,
  forbiddenImports,
  importCycles,
  isTest,
  longParameterLists,
  realmChecks,
  repeatedRaces,
  usingDeclarations,
} from './source-rules.js'

const sources = readSources()
const production = sources.filter((source) => !isTest(source.path))

/** What may read the machine's clock, and why there is no way around it. */
const ambientExceptions = {
  // The one place where real time comes in; everything else is handed a clock.
  'base/clock.ts': ['Date.now', 'setTimeout'],
}

/** What may ask for a class of this realm, and why. */
const realmExceptions = {
  // The fast answer for nearly every key and value; the shape is asked where it says no.
  'base/shapes.ts': ['Uint8Array'],
}

describe('the sources', () => {
  it('are found', () => {
    expect(production.map((source) => source.path)).toContain('base/clock.ts')
    expect(production.length).toBeGreaterThan(20)
  })

  it('import only what their layer may', () => {
    expect(forbiddenImports(production)).toEqual([])
  })

  it('have no import cycle', () => {
    expect(importCycles(sources)).toEqual([])
  })

  it('re-export only in entry files', () => {
    expect(barrels(sources)).toEqual([])
  })

  it('use no any and silence no checker', () => {
    expect(escapes(sources)).toEqual([])
  })

  it('take time and chance from what is injected', () => {
    expect(ambientSources(production, ambientExceptions)).toEqual([])
  })

  it('close what they open without using', () => {
    expect(usingDeclarations(production)).toEqual([])
  })

  it('take nothing of Node.js by a namespace, for bundlers', () => {
    expect(builtinNamespaces(production)).toEqual([])
  })

  it('do not race again and again with what stays', () => {
    // A job under test ends with its test.
    expect(repeatedRaces(production.filter(({ path }) => !path.startsWith('testing/')))).toEqual([])
  })

  it('know values by shape or brand, not by a class of this realm or copy', () => {
    expect(realmChecks(production, realmExceptions)).toEqual([])
  })

  it('take few arguments', () => {
    expect(longParameterLists(production)).toEqual([])
  })

  it('need every exception that they are granted', () => {
    const uses = ambientSources(production)
    const unused = Object.entries(ambientExceptions).flatMap(([path, names]) =>
      names.filter((name) => !uses.some((use) => use.startsWith(path) && use.endsWith(name))),
    )
    expect(unused).toEqual([])
    expect(realmChecks(production)).toHaveLength(1)
  })
})

describe('the layer rule', () => {
  const judge = (path: string, text: string) => forbiddenImports([parse(path, text)])

  it.each([
    [
      'an upward import',
      'base/a.ts',
      `import { x } from '../backend/x.js'`,
      'base may not import backend/x.ts',
    ],
    [
      'an upward import of a type',
      'log/a.ts',
      `import type { X } from '../memory/x.js'`,
      'log may not import',
    ],
    ['an import type', 'codec/a.ts', `type X = import('../log/x.js').X`, 'codec may not import log/x.ts'],
    ['a dynamic import', 'storage/a.ts', `await import('../checkpoint/x.js')`, 'storage may not import'],
    [
      'a worker file',
      'checkpoint/a.ts',
      `new URL('../memory/w.js', import.meta.url)`,
      'may not import memory/w.ts',
    ],
    [
      'an engine in checkpoint',
      'checkpoint/a.ts',
      `import '../log/x.js'`,
      'checkpoint may not import log/x.ts',
    ],
    [
      'a storage beyond its contract',
      'checkpoint/a.ts',
      `import '../storage/file.js'`,
      'may not import storage/file',
    ],
    ['a re-export', 'base/a.ts', `export * from '../codec/x.js'`, 'base may not import codec/x.ts'],
    ['an entry file', 'testing/a.ts', `import { x } from '../index.js'`, 'is an entry file'],
    ['a test', 'testing/a.ts', `import { x } from '../base/x.test.js'`, 'is a test'],
    ['a file outside src', 'base/a.ts', `import { x } from '../../test/x.js'`, 'is outside src/'],
    ['a package', 'log/a.ts', `import lz4 from 'lz4-napi'`, 'package lz4-napi is not allowed'],
    [
      'a required package',
      'log/a.ts',
      `createRequire(import.meta.url)('lz4-napi')`,
      'package lz4-napi is not',
    ],
    ['a module of Node', 'backend/a.ts', `import { join } from 'node:path'`, 'node:path is not allowed'],
    [
      'a module of Node without prefix',
      'storage/a.ts',
      `import { join } from 'path'`,
      'lacks its node: prefix',
    ],
    ['an unknown folder', 'attic/a.ts', '', 'no rule for folder attic'],
  ])('finds %s', (_, path, text, reason) => {
    expect(judge(path, text)).toEqual([expect.stringContaining(reason)])
  })

  it('allows what the table allows', () => {
    expect(judge('checkpoint/a.ts', `import type { S } from '../storage/checkpoint-storage.js'`)).toEqual([])
    expect(judge('memory/a.ts', `import { x } from '../log/x.js'; import { y } from './y.js'`)).toEqual([])
    expect(judge('codec/a.ts', `import lz4 from 'lz4-napi'; import zlib from 'node:zlib'`)).toEqual([])
    expect(judge('index.ts', `export { X } from './memory/x.js'`)).toEqual([])
  })
})

describe('the other rules', () => {
  it('find functions of every kind with too many parameters', () => {
    const seven = 'a: A, b: A, c: A, d: A, e: A, f: A, g: A'
    for (const text of [
      `function f(${seven}) {}`,
      `class C { constructor(${seven}) {} }`,
      `class C { m(${seven}) {} }`,
      `const f = (${seven}) => {}`,
      `interface I { m(${seven}): void }`,
    ]) {
      expect(longParameterLists([parse('log/a.ts', text)]), text).toHaveLength(1)
    }
    expect(longParameterLists([parse('log/a.ts', `function f(${seven.slice(0, -6)}) {}`)])).toEqual([])
  })

  it('find a cycle, of types as well, once', () => {
    const ring = [
      parse('log/a.ts', `import { b } from './b.js'`),
      parse('log/b.ts', `import type { C } from './c.js'`),
      parse('log/c.ts', `import './a.js'`),
      parse('log/d.ts', `import './a.js'`),
    ]
    expect(importCycles(ring)).toEqual(['log/a.ts -> log/b.ts -> log/c.ts -> log/a.ts'])
    expect(importCycles(ring.slice(0, 2))).toEqual([])
  })

  it('find a barrel, also one that imports first', () => {
    expect(barrels([parse('log/a.ts', `export { b } from './b.js'`)])).toHaveLength(1)
    expect(barrels([parse('log/a.ts', `export * from './b.js'`)])).toHaveLength(1)
    expect(barrels([parse('log/a.ts', `import { b } from './b.js'\nexport { b as c }`)])).toHaveLength(1)
    expect(barrels([parse('log/a.ts', 'const b = 1\nexport { b }')])).toEqual([])
    expect(barrels([parse('index.ts', `export * from './log/a.js'`)])).toEqual([])
  })

  it('find any and silenced checks, not the words', () => {
    const guilty = 'let a: any\nlet b = a as Array<any>\n// @ts-ignore\nlet c = 1\n/* oxlint-disable */\nc++'
    expect(escapes([parse('base/a.ts', guilty)])).toEqual([
      'base/a.ts:1: any',
      'base/a.ts:2: any',
      'base/a.ts:3: // @ts-ignore',
      'base/a.ts:5: /* oxlint-disable */',
    ])
    expect(escapes([parse('base/a.ts', `// any number\nlet any = 'any @ts-ignore'`)])).toEqual([])
  })

  it('find ambient time and chance', () => {
    const guilty = [
      'Date.now()',
      'const clock = Date.now',
      'new Date()',
      'Date()',
      'Math.random()',
      'setTimeout(f, 1)',
      'globalThis.setInterval(f, 1)',
      `import { setTimeout as sleep } from 'node:timers/promises'`,
    ]
    for (const text of guilty) expect(ambientSources([parse('log/a.ts', text)]), text).toHaveLength(1)
    const turn = `import { setImmediate as turn } from 'node:timers/promises'`
    expect(ambientSources([parse('log/a.ts', turn)])).toEqual([])
    const innocent = 'new Date(5); clock.setTimer(f, 1); this.random(); setImmediate(f); x.setTimeout(1)'
    expect(ambientSources([parse('log/a.ts', innocent)])).toEqual([])
    expect(ambientSources([parse('log/a.ts', 'Date.now()')], { 'log/a.ts': ['Date.now'] })).toEqual([])
  })

  it('find using', () => {
    const guilty = ['using x = f()', 'async () => { await using x = f() }', 'for (using x of y) g()']
    for (const text of guilty) expect(usingDeclarations([parse('log/a.ts', text)]), text).toHaveLength(1)
    expect(usingDeclarations([parse('log/a.ts', 'const using = 1; let x = using; const y = 2')])).toEqual([])
  })

  it('find namespaces of Node.js', () => {
    expect(builtinNamespaces([parse('log/a.ts', "import * as zlib from 'node:zlib'")])).toEqual([
      "log/a.ts:1: 'node:zlib'",
    ])
    const innocent =
      "import zlib, { gunzip } from 'node:zlib'; import type * as http from 'node:http'; import * as y from './y.js'"
    expect(builtinNamespaces([parse('log/a.ts', innocent)])).toEqual([])
  })

  it('find races that are repeated', () => {
    const inClass = (body: string) => `class C { async f() { ${body} } }`
    const guilty = [
      'async () => { while (true) await Promise.race([next(), ended]) }',
      'for await (const x of y) Promise.race(all)',
      inClass('await Promise.race([this.#ask(), this.#closed])'),
      inClass('await Promise.race([late, this.#fetching ?? late])'),
    ]
    for (const text of guilty) expect(repeatedRaces([parse('log/a.ts', text)]), text).toHaveLength(1)
    const innocent = inClass(
      'return await Promise.race([work, late, this.#ask(), Promise.all(this.#readers.map(f))])',
    )
    expect(repeatedRaces([parse('log/a.ts', innocent)])).toEqual([])
  })

  it('find classes of this realm, and of this copy', () => {
    const guilty = [
      'x instanceof Error',
      'x instanceof Uint8Array || y',
      'if (!(x instanceof globalThis.Map)) f()',
      `import { MessagePort } from 'node:worker_threads'; x instanceof MessagePort`,
      `import { StateError } from '../base/errors.js'; x instanceof StateError`,
    ]
    for (const text of guilty) expect(realmChecks([parse('log/a.ts', text)]), text).toHaveLength(1)
    const innocent = [
      'class Mark {}; x instanceof Mark',
      `import { Base } from './base.js'; x instanceof Base`,
      '// x instanceof Error',
    ]
    for (const text of innocent) expect(realmChecks([parse('log/a.ts', text)]), text).toEqual([])
    expect(realmChecks([parse('log/a.ts', 'x instanceof Error')], { 'log/a.ts': ['Error'] })).toEqual([])
  })
})
