// npm run bench:checkpoint — what checkpoints and restores cost, for the memory engine and the persistent one, beside the
// hand-written way: `v8.serialize` of a `Map<string, Buffer>`, gzip level 1, write, fsync; and back; and beside the floor:
// the time in which one thread compresses, hashes and writes the same bytes.
//
// Every part has a process of its own, and the parts take turns. A checkpoint of holdfast is more than what is written by
// hand: sorted, checksummed, read back and verified before it counts.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as zlib from 'node:zlib'
import Table from 'cli-table3'
import { Command } from 'commander'
import { type Engine, RANGES, type StepFigures } from './checkpoint-state.js'
import type { ChainFigures, FullFigures, RangeFigures } from './checkpoint-worker.js'
import { describeRatios, median, spread } from './statistics.js'

const options = new Command('bench:checkpoint')
  .option(
    '--entries <counts>',
    'entries of 30 B keys and 100 B values, one or more numbers',
    '100000,1000000',
  )
  .option('--ten-million', 'ten million entries as well', false)
  .option('--runs <count>', 'turns of every part', Number, 3)
  .option('--directory <path>', 'where the files go, on the disk to be measured', tmpdir())
  .parse()
  .opts<{ entries: string; tenMillion: boolean; runs: number; directory: string }>()

const worker = fileURLToPath(new URL('checkpoint-worker.js', import.meta.url))
const engines: readonly Engine[] = ['memory', 'lmdb']
const codecs = ['lz4', 'gzip', ...('zstdCompress' in zlib ? ['zstd'] : []), 'none']
const SHARES = ['0.001', '0.01', '0.1']

interface Turn {
  readonly chain: ChainFigures
  readonly restore: StepFigures
  readonly restoreChain: StepFigures
  readonly restoreRanges: RangeFigures
}

interface Turns {
  readonly engines: Record<Engine, Turn[]>
  readonly codecs: Record<string, FullFigures[]>
  readonly byHand: { readonly save: FullFigures; readonly restore: StepFigures }[]
  readonly small: FullFigures[]
  readonly floor: FullFigures[]
  readonly floorOfSmall: FullFigures[]
  readonly floorOfRestore: StepFigures[]
  readonly floorOfStore: StepFigures[]
}

function inProcess<Result>(action: string, subject: string, directory: string, entries: number): Result {
  const args = [
    '--expose-gc',
    '--max-old-space-size=12288',
    worker,
    action,
    subject,
    directory,
    String(entries),
  ]
  const output = execFileSync(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  return JSON.parse(output) as Result
}

function inFolder<Result>(work: (directory: string) => Result): Result {
  const folder = mkdtempSync(join(options.directory, 'holdfast-bench-'))
  try {
    return work(join(folder, 'files'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function takeTurns(entries: number): Turns {
  const turns: Turns = {
    engines: { memory: [], lmdb: [] },
    codecs: {},
    byHand: [],
    small: [],
    floor: [],
    floorOfSmall: [],
    floorOfRestore: [],
    floorOfStore: [],
  }
  const note = (run: number, what: string) =>
    process.stderr.write(
      `${entries.toLocaleString('en')} entries, turn ${run + 1} of ${options.runs}: ${what}\n`,
    )
  for (let run = 0; run < options.runs; run++) {
    for (const engine of engines) {
      turns.engines[engine].push(
        inFolder((directory) => ({
          chain: inProcess<ChainFigures>('chain', engine, directory, entries),
          restore: inProcess<StepFigures>('restore', engine, directory, entries),
          restoreChain: inProcess<StepFigures>('restore-chain', engine, directory, entries),
          restoreRanges: inProcess<RangeFigures>('restore-ranges', engine, directory, entries),
        })),
      )
      note(run, engine)
    }
    for (const codec of codecs) {
      turns.codecs[codec] ??= []
      turns.codecs[codec].push(
        inFolder((directory) => inProcess<FullFigures>('full', codec, directory, entries)),
      )
      note(run, codec)
    }
    turns.byHand.push(
      inFolder((directory) => ({
        save: inProcess<FullFigures>('save-by-hand', '-', directory, entries),
        restore: inProcess<StepFigures>('restore-by-hand', '-', directory, entries),
      })),
    )
    turns.small.push(inFolder((directory) => inProcess<FullFigures>('small', '-', directory, entries)))
    turns.floor.push(inFolder((directory) => inProcess<FullFigures>('floor', 'usual', directory, entries)))
    turns.floorOfSmall.push(
      inFolder((directory) => inProcess<FullFigures>('floor', 'small', directory, entries)),
    )
    turns.floorOfRestore.push(
      inFolder((directory) => inProcess<StepFigures>('floor-of-restore', '-', directory, entries)),
    )
    turns.floorOfStore.push(
      inFolder((directory) => inProcess<StepFigures>('floor-of-store', '-', directory, entries)),
    )
    note(run, 'by hand, floors')
  }
  return turns
}

type Row = (string | number)[]

function row(
  label: string,
  figures: readonly (StepFigures & { readonly bytes?: number })[],
  ratio = '',
): Row {
  const bytes = figures.map((each) => each.bytes ?? Number.NaN)
  return [
    label,
    spread(figures.map(({ wallMs }) => wallMs)),
    spread(figures.map(({ cpuMs }) => cpuMs)),
    spread(figures.map(({ mainCpuMs }) => mainCpuMs)),
    spread(figures.map(({ pauseMs }) => pauseMs)),
    Number.isNaN(median(bytes)) ? '' : (median(bytes) / 1e6).toFixed(3),
    ratio,
  ]
}

function report(entries: number, turns: Turns): void {
  const table = new Table({
    head: ['', 'wall ms', 'processor ms', 'of the main thread', 'pause ms', 'MB', 'time, beside'],
    style: { head: [], border: [] },
  })
  const { byHand, small, floor, floorOfSmall, floorOfRestore, floorOfStore } = turns
  for (const engine of engines) {
    const own = turns.engines[engine]
    const fulls = own.map(({ chain }) => chain.full)
    const toHand = fulls.map(
      (full, run) => full.wallMs / (byHand[run] as Turns['byHand'][number]).save.wallMs,
    )
    table.push(row(`${engine}: full`, fulls, `by hand ${describeRatios(toHand)}`))
    const loaded = own.map(({ chain }) => chain.loaded)
    const toOneThread = loaded.map(({ wallMs }, run) => wallMs / (floor[run] as FullFigures).wallMs)
    table.push(
      row(`${engine}: full, beside a loop that writes`, loaded, `its floor ${describeRatios(toOneThread)}`),
    )
    for (const share of SHARES) {
      const deltas = own.map(({ chain }) => chain.deltas[share] as FullFigures)
      const toFull = deltas.map((delta, run) => delta.wallMs / (fulls[run] as FullFigures).wallMs)
      table.push(row(`${engine}: ${Number(share) * 100} % changed`, deltas, `full ${describeRatios(toFull)}`))
    }
    table.push(
      row(
        `${engine}: 1,000 entries changed`,
        own.map(({ chain }) => chain.thousand),
      ),
    )
    const merges = own.map(({ chain }) => chain.merge)
    table.push([
      `${engine}: merge of base and 13 deltas`,
      spread(merges.map(({ wallMs }) => wallMs)),
      '',
      '',
      '',
      (median(merges.map(({ bytes }) => bytes)) / 1e6).toFixed(3),
      '',
    ])
    const restored = [
      ['restore', own.map(({ restore }) => restore)],
      ['restore of a base and a delta', own.map(({ restoreChain }) => restoreChain)],
    ] as const
    for (const [label, figures] of restored) {
      const toHandBack = figures.map(
        ({ wallMs }, run) => wallMs / (byHand[run] as Turns['byHand'][number]).restore.wallMs,
      )
      table.push(row(`${engine}: ${label}`, figures, `by hand ${describeRatios(toHandBack)}`))
    }
    for (const [which, label] of [
      ['first', `restore of one of ${RANGES} ranges, in a process that has just begun`],
      ['next', `restore of another of ${RANGES} ranges, the median of nine`],
    ] as const) {
      const ranges = own.map(({ restoreRanges }) => restoreRanges[which])
      const toWhole = own.map(({ restore }, run) => (ranges[run] as StepFigures).wallMs / restore.wallMs)
      table.push(row(`${engine}: ${label}`, ranges, `all ${describeRatios(toWhole)}`))
    }
  }
  for (const codec of codecs) {
    table.push(row(`memory: full, ${codec}`, turns.codecs[codec] ?? []))
  }
  table.push(
    row(
      'by hand: save',
      byHand.map(({ save }) => save),
    ),
  )
  table.push(
    row(
      'by hand: restore',
      byHand.map(({ restore }) => restore),
    ),
  )
  const toFloor = small.map(({ wallMs }, run) => wallMs / (floorOfSmall[run] as FullFigures).wallMs)
  table.push(
    row('memory: 8 B keys, 16 B values, nearly all changed', small, `its floor ${describeRatios(toFloor)}`),
  )
  table.push(row('floor of it: compress, hash, write', floorOfSmall))
  table.push(row('floor: compress, hash, write', floor))
  table.push(row('floor of a restore: read, hash, decompress, sum', floorOfRestore))
  table.push(row('floor: lmdb appends, durably', floorOfStore))
  console.log(`\n${entries.toLocaleString('en')} entries, medians of ${options.runs} turns (range)`)
  console.log(table.toString())
  for (const engine of engines) {
    const loaded = turns.engines[engine].map(({ chain }) => chain.loaded.pauseMs)
    const busy = turns.engines[engine].map(({ chain }) => chain.besideBusyThreadPauseMs)
    console.log(
      `${engine}: longest pause of a loop that writes all the time: ${spread(loaded)} ms beside a full checkpoint, ${spread(busy)} ms beside a thread that is as busy`,
    )
  }
}

console.log(`Node ${process.version} on ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`)
console.log(
  '30 B keys; 100 B values: 60 B of text that recurs, 40 B that do not compress. Ratios below 1 are in favour of holdfast.',
)
console.log(
  'Pause: the longest time between two firings of a 1 ms timer during the step, that 1 ms included.',
)
const counts = options.entries.split(',').map(Number)
for (const entries of options.tenMillion ? [...counts, 10_000_000] : counts)
  report(entries, takeTurns(entries))
