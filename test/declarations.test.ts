import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { expect, it } from 'vitest'
import { titled } from './faults/fault-kit.js'
import { leftToLongRuns } from './support/long.js'

// A package that exports its schemas and jobs, with declarations: every type that the compiler has to name there must be one that
// holdfast exports.

const root = fileURLToPath(new URL('..', import.meta.url))

const USER = `
import { MemoryStateBackend } from 'holdfast'
import { arraySource, boundedDisorder, csvFiles, defineJob, functionSink, mergedSource, ndjsonFileSink, ndjsonFiles, runJob, streamSource } from 'holdfast/job'
import * as s from 'holdfast/state'
import { JobTest, testJob } from 'holdfast/testing'
import * as w from 'holdfast/window'

export interface Click { readonly user: string; readonly at: number; readonly cost: number }

export const point = s.struct({ count: s.uint32, sum: s.float64, at: s.date, open: s.bool, state: s.enumeration('a', 'b') })
export const pair = s.tuple(s.utf8, s.optional(s.int64))
export const pairs = w.intervalJoin({ name: 'pairs', left: s.json<Click>(), right: s.json<Click>(), fromMs: 0, toMs: 1 })
export const rates = w.versionedTable({ name: 'rates', row: s.float64 })
export const ids = w.deduplication({ name: 'ids', id: s.utf8, withinMs: 1_000 })
export const schema = s.defineState({
  key: s.utf8,
  states: {
    one: s.value(s.json<Click>()),
    other: s.value(point, { default: () => ({ count: 0, sum: 0, at: new Date(), open: true, state: 'a' as const }) }),
    some: s.list(s.messagePack<Click>(), { ttl: { afterMs: 1_000 } }),
    byName: s.map(s.utf8, point),
    seen: s.map(pair, s.none),
    most: s.reducing(s.float64, (all: number, each: number) => Math.max(all, each)),
    totals: s.aggregating(s.struct({ clicks: s.uint32 }), (all, _: Click) => { all.clicks++ }),
    ...pairs.states,
    ...rates.states,
    ...ids.states,
  },
})
export const store = await s.StateStore.open(new MemoryStateBackend(), schema)
export const { one, byName, totals } = store
const common = {
  key: ({ user }: Click) => user,
  timestamp: ({ at }: Click) => at,
  time: { watermarks: boundedDisorder(5) },
}
export const job = defineJob<Click, number>()({ ...common, name: 'job', schema, process: ({ cost }, { emit }) => emit(cost) })
export const aggregate = w.combined({
  n: w.count(),
  cost: w.sum(({ cost }: Click) => cost),
  last: w.last(s.int64, ({ at }: Click) => at),
  users: w.distinctCount(s.utf8, ({ user }: Click) => user),
  names: w.distinctValues(s.utf8, ({ user }: Click) => user),
  about: w.approximateDistinctCount(s.utf8, ({ user }: Click) => user),
  costs: w.quantiles(({ cost }: Click) => cost, [0.5, 0.9]),
  dearest: w.topN({ n: 2, by: ({ cost }: Click) => cost, codec: s.json<Click>() }),
})
export const reduced = w.aggregateBy(s.reducing(s.float64, (all: number, each: number) => all + each))
export const windows = {
  minutes: w.windowed({ windows: w.tumbling({ sizeMs: 60_000 }), aggregate }),
  hours: w.windowed({ windows: w.hopping({ sizeMs: 60_000, slideMs: 1_000 }), aggregate: w.mean(({ cost }: Click) => cost) }),
  days: w.windowed({ windows: w.calendar({ unit: 'day', timeZone: 'UTC' }), events: s.json<Click>(), process: (events) => [...events].length }),
  visits: w.windowed({ windows: w.session({ gapMs: 5 }), aggregate: w.count() }),
  joined: w.windowJoin({
    windows: w.tumbling({ sizeMs: 10 }),
    left: { codec: s.json<Click>(), of: (click: Click) => click },
    right: { codec: s.uint32, of: ({ cost }: Click) => cost },
    join: 'outer',
    output: ({ left, right }) => ({ left, right }),
  }),
}
export const windowedJob = defineJob<Click, w.WindowResult<string, number>>()({
  ...common,
  name: 'windows',
  schema: s.defineState({ key: s.utf8, states: {} }),
  windows: { visits: w.windowed({ windows: w.session({ gapMs: 5 }), aggregate: w.count() }) },
})
export const piped = job.pipe<string>()({
  name: 'next',
  key: (cost) => String(cost),
  schema: s.defineState({ key: s.utf8, states: { n: s.value(s.uint32) } }),
  process: (_, { key, emit }) => emit(key),
})
export const clicks = arraySource<Click>([])
export const placed = { ...job, source: clicks, backend: new MemoryStateBackend() }
export const pipedAndPlaced = { ...piped, source: clicks, backend: new MemoryStateBackend() }
export const merged = mergedSource({ clicks, orders: ndjsonFiles<{ readonly id: number }>({ paths: ['x'] }) })
export const sink = ndjsonFileSink<Click>({ path: 'x' })
export const start = () => runJob({ ...placed })
export const startPiped = () => runJob({ ...pipedAndPlaced })
export const tested = () => testJob(job, [])
export const testedPiped = () => testJob(piped, [])
export const step = () => JobTest.start(piped)
export const others = [csvFiles, functionSink, streamSource] as const
`

it.skipIf(leftToLongRuns !== undefined)(
  titled('declarations of what users export name nothing that is not exported', leftToLongRuns),
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-declarations-'))
    try {
      mkdirSync(join(folder, 'node_modules'))
      symlinkSync(root, join(folder, 'node_modules/holdfast'))
      symlinkSync(join(root, 'node_modules/@types'), join(folder, 'node_modules/@types'))
      writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
      const file = join(folder, 'user.ts')
      writeFileSync(file, USER)
      const program = ts.createProgram({
        rootNames: [file],
        options: {
          target: ts.ScriptTarget.ES2022,
          module: ts.ModuleKind.NodeNext,
          moduleResolution: ts.ModuleResolutionKind.NodeNext,
          lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
          types: ['node'],
          typeRoots: [join(root, 'node_modules/@types')],
          // The package must be seen where users have it.
          preserveSymlinks: true,
          strict: true,
          skipLibCheck: true,
          declaration: true,
          emitDeclarationOnly: true,
          outDir: join(folder, 'out'),
        },
      })
      const complaints = [...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics]
      expect(complaints.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))).toEqual(
        [],
      )
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
)

/** The declarations that a program reads with everything that the package exports. */
function readDeclarations(): Map<string, string> {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    exports: { [name: string]: { readonly types: string } | string }
  }
  const waiting = Object.values(exports).flatMap((entry) =>
    typeof entry === 'string' ? [] : [join(root, entry.types)],
  )
  const read = new Map<string, string>()
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (read.has(file)) continue
    const text = readFileSync(file, 'utf8')
    read.set(file, text)
    for (const { fileName } of ts.preProcessFile(text).importedFiles) {
      if (fileName.startsWith('.')) waiting.push(join(dirname(file), fileName.replace(/\.js$/, '.d.ts')))
    }
  }
  return read
}

it('declarations are read by compilers before 5.7 too, in which Uint8Array and Buffer have no arguments', () => {
  const read = readDeclarations()
  expect(read.size).toBeGreaterThan(100)
  const newer = [...read].filter(([, text]) => /\b(Uint8Array|Buffer|DataView)</.test(text))
  expect(newer.map(([file]) => file)).toEqual([])
})
