// npm run bench:memory — the memory engine beside what else a Node process can keep state in. Every figure comes from a
// process of its own; the subjects take turns, run by run, and ratios compare the figures of one turn.

import { execFileSync } from 'node:child_process'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import Table from 'cli-table3'
import { Command } from 'commander'
import { type SubjectName, subjectNames } from './memory-subjects.js'
import type { CounterFigures, Figures } from './memory-worker.js'
import { describeRatios, median } from './statistics.js'

const { runs, sizes, json } = new Command('bench:memory')
  .option('--runs <count>', 'turns of every subject', Number, 5)
  .option(
    '--sizes <list>',
    'entries, separated by commas',
    (list) => list.split(',').map(Number),
    [10_000, 1_000_000],
  )
  .option('--json', 'one JSON document instead of tables')
  .parse()
  .opts<{ runs: number; sizes: number[]; json?: boolean }>()

const worker = fileURLToPath(new URL('memory-worker.js', import.meta.url))
/** Small stores are filled anew this often in one process, so that each turn measures as many operations as a large one. */
const OPERATIONS_PER_TURN = 1_000_000

function measure(name: SubjectName, entries: number): Figures {
  const rounds = Math.max(1, Math.round(OPERATIONS_PER_TURN / entries / (name === 'memory-level' ? 10 : 1)))
  const args = ['--expose-gc', '--max-old-space-size=8192', worker, name, String(entries), String(rounds)]
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as Figures
}

type Measured = Record<SubjectName, Figures[]>

function takeTurns(entries: number): Measured {
  const measured: Measured = { holdfast: [], Map: [], 'lru-cache': [], 'memory-level': [] }
  for (let run = 0; run < runs; run++) {
    for (const name of subjectNames) {
      measured[name].push(measure(name, entries))
      process.stderr.write(`${entries} entries, turn ${run + 1} of ${runs}: ${name}\n`)
    }
  }
  return measured
}

const operations = ['insert', 'get', 'update', 'batch', 'scan'] as const

function report(entries: number, measured: Measured): void {
  console.log(`\n${entries.toLocaleString('en')} entries (24 B keys, 100 B values), medians of ${runs} turns`)
  const table = new Table({
    head: ['', ...subjectNames, 'holdfast : Map (range)'],
    style: { head: [], border: [] },
  })
  const ratiosTo = (pick: (figures: Figures) => number) =>
    measured.holdfast.map((own, run) => pick(measured.Map[run] as Figures) / pick(own))
  for (const operation of operations) {
    const unit = operation === 'scan' ? 'µs' : 'ns'
    const scale = operation === 'scan' ? 1_000 : 1
    const cells = subjectNames.map((name) =>
      (median(measured[name].map((f) => f[operation])) / scale).toFixed(1),
    )
    table.push([`${operation} (${unit})`, ...cells, describeRatios(ratiosTo((f) => f[operation]))])
  }
  for (const [label, figure] of [
    ['resident B/entry, inserted', 'insertedBytes'],
    ['resident B/entry, updated', 'updatedBytes'],
  ] as const) {
    if (measured.Map.some((figures) => figures[figure] === undefined)) continue
    const bytes = (figures: Figures | undefined) => figures?.[figure] ?? Number.NaN
    const cells = subjectNames.map((name) => median(measured[name].map(bytes)).toFixed(0))
    const shares = measured.holdfast.map((own, run) => bytes(own) / bytes(measured.Map[run]))
    table.push([label, ...cells, describeRatios(shares)])
  }
  console.log(table.toString())
  const own = (pick: (figures: Figures) => number | undefined) =>
    median(measured.holdfast.map((f) => pick(f) ?? Number.NaN))
  console.log(`holdfast: ${own((f) => f.ownBytesPerEntry).toFixed(1)} B per entry beside key and value`)
  console.log(`holdfast: snapshotSync() pauses at most ${own((f) => f.snapshotPauseMs).toFixed(3)} ms`)
  reportCounters(measured)
  const slowdowns = measured.holdfast.map((f) => (f.updateInSnapshot ?? Number.NaN) / f.update)
  console.log(
    `holdfast: first update of each entry while a snapshot is open: ${describeRatios(slowdowns)} of an update`,
  )
}

function reportCounters(measured: Measured): void {
  const figures = measured.holdfast.flatMap(({ counters }) => (counters === undefined ? [] : [counters]))
  const compare = (what: string, slow: keyof CounterFigures, fast: keyof CounterFigures, against: string) => {
    const ns = median(figures.map((each) => each[fast])).toFixed(0)
    console.log(
      `holdfast: ${what} takes ${ns} ns; ${against}: ${describeRatios(figures.map((each) => each[slow] / each[fast]))}`,
    )
  }
  compare('updateSync() of a counter', 'getAndPut', 'updateInPlace', 'getSync() and putSync()')
  compare('updateSync() of a counter', 'mapOfObjects', 'updateInPlace', 'a Map of objects')
  compare('peekSync() of a counter', 'get', 'peek', 'getSync()')
  compare('putSync()', 'putExpiring', 'put', 'with a time to live')
  compare('putSync()', 'putExpiringFrozen', 'put', 'with a time to live in frozen options')
}

const results = sizes.map((entries) => ({ entries, measured: takeTurns(entries) }))
const machine = { node: process.version, cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length }
if (json === true) {
  console.log(JSON.stringify({ machine, runs, results }))
} else {
  console.log(
    `Node ${machine.node} on ${machine.cores} × ${machine.cpu}; ratios above 1 are in favour of holdfast, except for memory`,
  )
  for (const { entries, measured } of results) report(entries, measured)
}
