// npm run bench:flink — jobs beside the same ones in Apache Flink on this machine. Every figure is the processor time of a process of its own, of
// all its threads, from its start on: Flink's is told by its Java program, ours by the worker of bench:windows. A second run of more events
// tells what each further million takes, once everything is started and compiled. Both put out as many results, or the run fails.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Table from 'cli-table3'
import { Command } from 'commander'
import { median } from './statistics.js'
import type { WindowFigures } from './windows-worker.js'

const { runs, events } = new Command('bench:flink')
  .option('--runs <count>', 'turns of every subject', Number, 1)
  .option(
    '--events <count>',
    'events of the shorter runs; the longer ones have three times as many',
    Number,
    5_000_000,
  )
  .parse()
  .opts<{ runs: number; events: number }>()

interface Run {
  readonly processorSeconds: number
  readonly results: number
}

interface Subject {
  readonly name: string
  run(work: Work, count: number, directory: string): Run
}

interface Work {
  /** As the worker of bench:windows knows it. */
  readonly name: string
  /** As Flink's program knows it. */
  readonly kind: 'tumbling' | 'sessions' | 'hopping' | 'counter'
  readonly keys: number
  /** Of the events of a run, where Flink takes long. */
  readonly part: number
  readonly subjects: readonly Subject[]
}

interface Program {
  readonly version: string
  readonly command: string
  readonly args: readonly string[]
}

const classes = mkdtempSync(join(tmpdir(), 'holdfast-bench-flink-'))
process.on('exit', () => rmSync(classes, { recursive: true, force: true }))
const program = await flinkProgram()

/** Flink's, compiled; ends this program where Flink cannot be had. */
async function flinkProgram(): Promise<Program> {
  const installer = new URL('../../scripts/flink.mjs', import.meta.url).href
  const { compileForFlink } = (await import(installer)) as {
    compileForFlink(source: string, folder: string): Program
  }
  try {
    return compileForFlink(fileURLToPath(new URL('../../bench/flink/Windows.java', import.meta.url)), classes)
  } catch (error) {
    console.log(`skipped: Flink cannot be had here: ${(error as Error).message}`)
    process.exit()
  }
}

/** @param keyed `keyBy` as one writes it, with a shuffle; `forward` where events are taken to be on the thread of their key already. */
const flink = (
  name: string,
  engine: 'hashmap' | 'rocksdb',
  keyed: 'keyBy' | 'forward',
  intervalMs = 0,
): Subject => ({
  name,
  run: ({ kind, keys }, count, directory) => {
    const given = [kind, `${keys}`, `${count}`, engine, keyed, `${intervalMs}`, directory]
    return JSON.parse(execFileSync(program.command, [...program.args, ...given], { encoding: 'utf8' })) as Run
  },
})

/** @param subject as the worker of bench:windows knows it. */
const holdfast = (name: string, subject: string): Subject => ({
  name,
  run: (work, count, directory) => {
    const worker = fileURLToPath(new URL('windows-worker.js', import.meta.url))
    const args = ['--max-old-space-size=8192', worker, subject, work.name, `${count}`, directory]
    const figures = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as WindowFigures
    return {
      processorSeconds: figures.startSeconds + (figures.secondsPerMillion * count) / 1e6,
      results: Math.round(figures.resultsPerEvent * count),
    }
  },
})

const inMemory = [
  holdfast('holdfast, memory', 'job'),
  flink('Flink, heap, without a shuffle', 'hashmap', 'forward'),
  flink('Flink, heap, keyBy', 'hashmap', 'keyBy'),
]
const onDisk = [
  holdfast('holdfast, LMDB', 'job on LMDB'),
  flink('Flink, RocksDB, without a shuffle', 'rocksdb', 'forward'),
]
const withCheckpoints = [
  holdfast('holdfast, memory', 'job, checkpoints'),
  flink('Flink, heap, without a shuffle', 'hashmap', 'forward', 5_000),
]

const MANY = 1_000_000
const windows = { name: 'windows of 60 s, 1 M keys', kind: 'tumbling', keys: MANY } as const
const counter = { name: 'counter, 1 M keys', kind: 'counter', keys: MANY } as const
const works: readonly Work[] = [
  { ...windows, part: 1, subjects: inMemory },
  { name: 'windows of 60 s, 1,000 keys', kind: 'tumbling', keys: 1_000, part: 1, subjects: inMemory },
  { name: 'sessions, 100 K keys', kind: 'sessions', keys: 100_000, part: 0.4, subjects: inMemory },
  { name: 'hopping 60 s by 5 s, 1,000 keys', kind: 'hopping', keys: 1_000, part: 0.4, subjects: inMemory },
  { ...counter, part: 1, subjects: inMemory },
  { ...counter, part: 1, subjects: withCheckpoints },
  { ...windows, part: 0.4, subjects: onDisk },
  { ...counter, part: 0.4, subjects: onDisk },
]
const LONGER = 3

/** Seconds of the processor per million events: of a whole run, and of each million that a longer one has more. */
interface Figures {
  readonly whole: number[]
  readonly further: number[]
  results: number
}

function measure({ run }: Subject, work: Work): { whole: number; further: number; results: number } {
  const count = Math.round(events * work.part)
  const once = (some: number): Run => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-bench-flink-run-'))
    try {
      return run(work, some, directory)
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  }
  const shorter = once(count)
  const longer = once(count * LONGER)
  return {
    whole: (shorter.processorSeconds * 1e6) / count,
    further: ((longer.processorSeconds - shorter.processorSeconds) * 1e6) / (count * (LONGER - 1)),
    results: longer.results,
  }
}

function compare(work: Work): Map<string, Figures> {
  const figures = new Map<string, Figures>()
  for (let turn = 0; turn < runs; turn++) {
    for (const subject of work.subjects) {
      const { whole, further, results } = measure(subject, work)
      const known = figures.get(subject.name) ?? { whole: [], further: [], results }
      known.whole.push(whole)
      known.further.push(further)
      figures.set(subject.name, known)
      process.stderr.write(`${work.name}, turn ${turn + 1} of ${runs}: ${subject.name}\n`)
    }
  }
  const results = new Set(Array.from(figures.values(), (each) => each.results))
  if (results.size > 1) throw new Error(`${work.name}: ${[...results].join(', ')} results`)
  return figures
}

const shown = (values: readonly number[]): string =>
  values.length === 1
    ? median(values).toFixed(2)
    : `${median(values).toFixed(2)} (${Math.min(...values).toFixed(2)}–${Math.max(...values).toFixed(2)})`

console.log(
  `Node ${process.version}, Flink ${program.version} on ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`,
)
const table = new Table({
  head: ['', 's of processor\nper M events', 'of holdfast', 'each\nfurther M', 'of holdfast'],
  style: { head: [], border: [] },
})
for (const work of works) {
  const figures = compare(work)
  const [ours] = figures.values()
  const count = `${((events * work.part) / 1e6).toLocaleString('en')} M events`
  const checkpoints = work.subjects === withCheckpoints ? ', a checkpoint every 5 s' : ''
  table.push([{ colSpan: 5, content: `${work.name}${checkpoints}: ${count}` }])
  for (const [name, { whole, further }] of figures) {
    const ratio = (values: readonly number[], of: readonly number[] | undefined) =>
      `${(median(values) / median(of ?? values)).toFixed(1)}x`
    table.push([name, shown(whole), ratio(whole, ours?.whole), shown(further), ratio(further, ours?.further)])
  }
}
console.log(table.toString())
