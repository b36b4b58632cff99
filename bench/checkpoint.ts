// npm run bench:checkpoint — a checkpoint and a restore of the memory engine with each codec, beside the hand-written
// way: `v8.serialize` of a `Map<string, Buffer>`, gzip level 1, write, fsync; and back. Every save and every restore has a
// process of its own; the ways take turns, run by run, and ratios compare the figures of one turn.
//
// A checkpoint of holdfast is more than what is written by hand: sorted, checksummed, read back and verified before it counts.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as zlib from 'node:zlib'
import Table from 'cli-table3'
import { Command } from 'commander'
import type { CheckpointFigures, CheckpointWay } from './checkpoint-worker.js'
import { describeRatios, median } from './statistics.js'

const options = new Command('bench:checkpoint')
  .option('--entries <count>', 'entries of 30 B keys and 100 B values', Number, 1_000_000)
  .option('--runs <count>', 'turns of every way', Number, 5)
  .option('--directory <path>', 'where the files go, on the disk to be measured', tmpdir())
  .option('--json', 'one JSON document instead of tables')
  .parse()
  .opts<{ entries: number; runs: number; directory: string; json?: boolean }>()

const worker = fileURLToPath(new URL('checkpoint-worker.js', import.meta.url))
const ways: CheckpointWay[] = [
  'lz4',
  'gzip',
  ...('zstdCompress' in zlib ? (['zstd'] as const) : []),
  'none',
  'by hand',
]

interface Turn {
  readonly save: CheckpointFigures
  readonly restore: CheckpointFigures
}

function runWorker(way: CheckpointWay, action: 'save' | 'restore', directory: string): CheckpointFigures {
  const args = [
    '--expose-gc',
    '--max-old-space-size=8192',
    worker,
    way,
    action,
    directory,
    String(options.entries),
  ]
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as CheckpointFigures
}

function takeTurn(way: CheckpointWay): Turn {
  const directory = mkdtempSync(join(options.directory, 'holdfast-bench-'))
  try {
    const save = runWorker(way, 'save', directory)
    return { save, restore: runWorker(way, 'restore', directory) }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function takeTurns(): Map<CheckpointWay, Turn[]> {
  const turns = new Map<CheckpointWay, Turn[]>(ways.map((way) => [way, []]))
  for (let run = 0; run < options.runs; run++) {
    for (const way of ways) {
      turns.get(way)?.push(takeTurn(way))
      process.stderr.write(`turn ${run + 1} of ${options.runs}: ${way}\n`)
    }
  }
  return turns
}

/** `123 (110–140)`: the median and the range. */
function spread(values: readonly number[]): string {
  const show = (value: number) => value.toFixed(value < 10 ? 1 : 0)
  return `${show(median(values))} (${show(Math.min(...values))}–${show(Math.max(...values))})`
}

function report(turns: Map<CheckpointWay, Turn[]>): void {
  const table = new Table({
    head: [
      '',
      'save ms',
      'pause ms',
      'restore ms',
      'pause ms',
      'MB on disk',
      'save',
      'restore',
      'pause of save',
    ],
    style: { head: [], border: [] },
  })
  const byHand = turns.get('by hand') ?? []
  for (const [way, own] of turns) {
    const ratio = (pick: (turn: Turn) => number) =>
      way === 'by hand' ? '' : describeRatios(own.map((turn, run) => pick(byHand[run] as Turn) / pick(turn)))
    table.push([
      way === 'by hand' ? way : `holdfast, ${way}`,
      spread(own.map(({ save }) => save.wallMs)),
      spread(own.map(({ save }) => save.pauseMs)),
      spread(own.map(({ restore }) => restore.wallMs)),
      spread(own.map(({ restore }) => restore.pauseMs)),
      (median(own.map(({ save }) => save.diskBytes)) / 1e6).toFixed(1),
      ratio(({ save }) => save.wallMs),
      ratio(({ restore }) => restore.wallMs),
      ratio(({ save }) => save.pauseMs),
    ])
  }
  console.log(table.toString())
}

const turns = takeTurns()
const machine = { node: process.version, cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length }
if (options.json === true) {
  console.log(JSON.stringify({ machine, options, results: Object.fromEntries(turns) }))
} else {
  const { entries, runs } = options
  console.log(`Node ${machine.node} on ${machine.cores} × ${machine.cpu}`)
  console.log(
    `${entries.toLocaleString('en')} entries (30 B keys; 100 B values: 60 B of text that recurs, 40 B that do not compress), ` +
      `medians of ${runs} turns (range); ratios are by hand : holdfast, above 1 in favour of holdfast.`,
  )
  console.log(
    'Pause: the longest time between two firings of a 1 ms timer during the step (perf_hooks), that 1 ms included.',
  )
  report(turns)
}
