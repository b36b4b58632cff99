// npm run bench:lmdb — the persistent engine beside what it is built on and its neighbours. Every turn of every subject
// is a process of its own on a directory of its own; the subjects take turns, and ratios compare one turn.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Table from 'cli-table3'
import { Command } from 'commander'
import type { MemoryFigures } from './lmdb-memory-worker.js'
import { BATCH_WRITES, CACHE_BYTES, GROUP_PUTS, type SubjectName } from './lmdb-subjects.js'
import type { Figures } from './lmdb-worker.js'
import { describeRatios, median } from './statistics.js'

const { runs, entries, directory, memory } = new Command('bench:lmdb')
  .option('--runs <count>', 'turns of every subject', Number, 3)
  .option('--entries <count>', 'entries in the store', Number, 1_000_000)
  .option('--memory', 'measure instead how much private memory holdfast needs for ten million entries', false)
  .option('--directory <path>', 'where the stores are made and removed', tmpdir())
  .parse()
  .opts<{ runs: number; entries: number; directory: string; memory: boolean }>()

const SQLITE = 'better-sqlite3@13.0.3'
const MEMORY_ENTRIES = 10_000_000
const MEBIBYTE = 1024 * 1024

/** Runs a program of this folder in a process of its own, and returns what it prints. */
function inProcess<Result>(program: string, ...args: string[]): Result {
  const path = fileURLToPath(new URL(program, import.meta.url))
  const output = execFileSync(process.execPath, ['--max-old-space-size=4096', path, ...args], {
    encoding: 'utf8',
  })
  return JSON.parse(output) as Result
}

function inFolder<Result>(work: (folder: string) => Result): Result {
  const folder = mkdtempSync(join(directory, 'holdfast-bench-'))
  try {
    return work(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function measureMemory(): void {
  const { maxRssAnonBytes, seconds } = inFolder((folder) =>
    inProcess<MemoryFigures>('lmdb-memory-worker.js', String(MEMORY_ENTRIES), join(folder, 'store')),
  )
  const limit = CACHE_BYTES + 200 * MEBIBYTE
  console.log(
    `${MEMORY_ENTRIES.toLocaleString('en')} entries put, then a million updated at random, in ${seconds.toFixed(0)} s: at most ${(maxRssAnonBytes / MEBIBYTE).toFixed(0)} MiB of private memory (RssAnon of the process); asked: at most ${limit / MEBIBYTE} MiB: ${maxRssAnonBytes <= limit ? 'met' : 'NOT met'}`,
  )
}

/** Installs the peer that only newer versions of Node can load. */
function installSqlite(folder: string): void {
  writeFileSync(join(folder, 'package.json'), '{ "private": true }')
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', SQLITE]
  execFileSync('npm', args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
}

if (memory) measureMemory()
else inFolder(compare)

function compare(peerFolder: string): void {
  const subjectNames: SubjectName[] = ['holdfast', 'holdfast, log', 'lmdb', 'classic-level']
  if (Number(process.versions.node.split('.')[0]) >= 22) {
    installSqlite(peerFolder)
    subjectNames.push('better-sqlite3')
  }
  const measured: Record<SubjectName, Figures[]> = {
    holdfast: [],
    'holdfast, log': [],
    lmdb: [],
    'classic-level': [],
    'better-sqlite3': [],
  }
  for (let run = 0; run < runs; run++) {
    for (const name of subjectNames) {
      measured[name].push(
        inFolder((folder) =>
          inProcess<Figures>('lmdb-worker.js', name, String(entries), join(folder, 'store'), peerFolder),
        ),
      )
      process.stderr.write(`turn ${run + 1} of ${runs}: ${name}\n`)
    }
  }
  report(subjectNames, measured)
}

function report(subjectNames: readonly SubjectName[], measured: Record<SubjectName, Figures[]>): void {
  const rows: readonly { label: string; figure: keyof Figures; asked?: number }[] = [
    { label: 'put, each awaited (ns)', figure: 'putAwaited', asked: 20 },
    { label: 'put, accepted and readable (ns)', figure: 'accepted', asked: 3 },
    { label: 'durable put, fresh store (ns)', figure: 'durablePut' },
    { label: 'durable put, after bursts (ns)', figure: 'durablePutAfter' },
    { label: `${GROUP_PUTS} durable puts at once, fresh store (ns)`, figure: 'group' },
    { label: `${GROUP_PUTS} durable puts at once, after bursts (ns)`, figure: 'groupAfter' },
    { label: 'a flush per 1,000 puts, fresh store (ns)', figure: 'flushed' },
    { label: 'a flush per 1,000 puts, after bursts (ns)', figure: 'flushedAfter' },
    { label: 'put, uniform, nobody waits (ns)', figure: 'sustained' },
    { label: 'durable, uniform (ns)', figure: 'durableUniform', asked: 1 },
    { label: 'durable, Zipf (ns)', figure: 'durableZipf', asked: 2 },
    { label: 'get, hot (ns)', figure: 'hotGet', asked: 1.5 },
    { label: 'get, cold (ns)', figure: 'coldGet', asked: 0.7 },
    { label: 'scan of 20 (ns)', figure: 'scan', asked: 0.7 },
  ]

  console.log(
    `Node ${process.version} on ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}; ${entries.toLocaleString('en')} entries (30 B keys, 100 B values), medians of ${runs} turns; ratios above 1 are in favour of holdfast`,
  )
  const table = new Table({
    head: ['', ...subjectNames, 'holdfast : lmdb (range)', 'asked'],
    style: { head: [], border: [] },
  })
  for (const { label, figure, asked } of rows) {
    const cells = subjectNames.map((name) => {
      const middle = median(measured[name].map((each) => each[figure] ?? Number.NaN))
      return Number.isNaN(middle) ? '–' : middle.toFixed(0)
    })
    const ratios = measured.holdfast.map((own, run) => (measured.lmdb[run] as Figures)[figure] / own[figure])
    table.push([
      label,
      ...cells,
      describeRatios(ratios),
      asked === undefined ? '' : `${asked}x ${median(ratios) >= asked ? 'met' : 'NOT met'}`,
    ])
  }
  console.log(table.toString())
  reportFloors('holdfast', measured.holdfast)
  reportFloors('holdfast, log', measured['holdfast, log'])
  const worn = measured.holdfast.map((each) => each.durablePutProcessorAfter / each.durablePutProcessor)
  console.log(
    `holdfast: a durable put after bursts takes ${median(worn).toFixed(2)} times the processor time of one on a fresh store (at most 3 asked)`,
  )
  const pause = median(measured.holdfast.map(({ pauseMs }) => pauseMs))
  console.log(
    `holdfast: longest pause of the event loop under full load ${pause.toFixed(1)} ms (at most 15 asked)`,
  )
}

/** What becomes durable, beside the same bytes appended to a file with one `fdatasync`; microseconds for all of it together. */
function reportFloors(name: SubjectName, turns: readonly Figures[]): void {
  const rows: readonly {
    label: string
    puts: number
    floor: keyof Figures
    own: (turn: Figures) => number
    asked: string
    isMet: (times: number, microsecondsOfOne: number) => boolean
  }[] = [
    {
      label: 'one durable put',
      puts: 1,
      floor: 'floorOfPut',
      own: (turn) => turn.durablePutAfter,
      asked: 'at most 1.5x',
      isMet: (times) => times <= 1.5,
    },
    {
      label: `${GROUP_PUTS} durable puts at once`,
      puts: GROUP_PUTS,
      floor: 'floorOfGroup',
      own: (turn) => turn.groupAfter,
      asked: 'at most 2x',
      isMet: (times) => times <= 2,
    },
    {
      label: `${BATCH_WRITES} puts and a flush`,
      puts: BATCH_WRITES,
      floor: 'floorOfFlush',
      own: (turn) => turn.flushedAfter * BATCH_WRITES,
      asked: 'at most 8 µs a put',
      isMet: (_, microsecondsOfOne) => microsecondsOfOne <= 8,
    },
  ]
  const table = new Table({
    head: [
      'durable writes after bursts',
      'append, fdatasync (µs)',
      `${name} (µs)`,
      'a put (µs)',
      'times (range)',
      'asked',
    ],
    style: { head: [], border: [] },
  })
  const microseconds = (values: readonly number[]) => median(values) / 1e3
  for (const { label, puts, floor, own, asked, isMet } of rows) {
    const times = turns.map((turn) => own(turn) / turn[floor])
    const together = microseconds(turns.map(own))
    const ofOne = together / puts
    table.push([
      label,
      microseconds(turns.map((turn) => turn[floor])).toFixed(0),
      together.toFixed(0),
      ofOne.toFixed(1),
      describeRatios(times),
      `${asked} ${isMet(median(times), ofOne) ? 'met' : 'NOT met'}`,
    ])
  }
  console.log(table.toString())
}
