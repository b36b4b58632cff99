// npm run bench:job — what checkpoints cost a running job: a windowed aggregation at full speed, with and without a
// checkpoint every five seconds, killed with SIGKILL in the end, and its recovery. Beside the same job on a `Map` with the
// hand-written snapshot (`v8.serialize`, gzip level 1, fsync, rename).

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import Table from 'cli-table3'
import { Command } from 'commander'
import type { Delays, JobFigures, JobSubject, RecoveryFigures } from './checkpoint-job-worker.js'
import { describeRatios, median, spread } from './statistics.js'

const options = new Command('bench:job')
  .option('--keys <count>', 'windows that events fall into', Number, 1_000_000)
  .option('--seconds <count>', 'how long a job runs', Number, 22)
  .option('--runs <count>', 'turns of every job', Number, 3)
  .option('--directory <path>', 'where the files go, on the disk to be measured', tmpdir())
  .parse()
  .opts<{ keys: number; seconds: number; runs: number; directory: string }>()

const worker = fileURLToPath(new URL('checkpoint-job-worker.js', import.meta.url))
const subjects: readonly JobSubject[] = ['memory', 'lmdb', 'map']

interface Turn {
  readonly without: JobFigures
  readonly with: JobFigures
  readonly recovery: RecoveryFigures
}

/** Runs a job until it has printed its figures, and kills it. */
async function runJob(
  subject: JobSubject,
  directory: string,
  checkpoints: 'checkpoints' | 'none',
): Promise<JobFigures> {
  const { keys, seconds } = options
  const args = [
    '--max-old-space-size=8192',
    worker,
    'run',
    subject,
    directory,
    `${keys}`,
    `${seconds}`,
    checkpoints,
  ]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  child.kill('SIGKILL')
  await once(child, 'close')
  return JSON.parse(line) as JobFigures
}

async function inFolder<Result>(work: (directory: string) => Promise<Result>): Promise<Result> {
  const folder = mkdtempSync(join(options.directory, 'holdfast-bench-'))
  try {
    return await work(join(folder, 'job'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function takeTurn(subject: JobSubject): Promise<Turn> {
  const without = await inFolder((directory) => runJob(subject, directory, 'none'))
  return await inFolder(async (directory) => {
    const figures = await runJob(subject, directory, 'checkpoints')
    const args = ['--max-old-space-size=8192', worker, 'recover', subject, directory, `${options.keys}`]
    const recovery = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as RecoveryFigures
    if (recovery.entries !== options.keys)
      throw new Error(`${subject}: ${recovery.entries} entries came back`)
    return { without, with: figures, recovery }
  })
}

const turns: Record<JobSubject, Turn[]> = { memory: [], lmdb: [], map: [] }
for (let run = 0; run < options.runs; run++) {
  for (const subject of subjects) {
    turns[subject].push(await takeTurn(subject))
    process.stderr.write(`turn ${run + 1} of ${options.runs}: ${subject}\n`)
  }
}

function delaysOf(all: readonly Delays[]): string {
  return [
    spread(all.map(({ p50Ms }) => p50Ms)),
    spread(all.map(({ p99Ms }) => p99Ms)),
    spread(all.map(({ maxMs }) => maxMs)),
  ].join(' / ')
}

console.log(`Node ${process.version} on ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`)
console.log(
  `${options.keys.toLocaleString('en')} windows of 100 B under 30 B keys, drawn uniformly; a checkpoint every 5 s; medians of ${options.runs} turns (range)`,
)
const table = new Table({
  head: [
    '',
    'events/s without',
    'with checkpoints',
    'kept',
    'delay ms without: p50 / p99 / max',
    'beside checkpoints: p50 / p99 / max',
    'checkpoints',
    'recovered after kill -9, ms',
  ],
  style: { head: [], border: [] },
})
for (const subject of subjects) {
  const own = turns[subject]
  table.push([
    subject === 'map' ? 'Map, by hand' : `holdfast, ${subject}`,
    spread(own.map(({ without }) => without.eventsPerSecond)),
    spread(own.map((turn) => turn.with.eventsPerSecond)),
    describeRatios(own.map((turn) => turn.with.eventsPerSecond / turn.without.eventsPerSecond)),
    delaysOf(own.map(({ without }) => without.delays)),
    delaysOf(own.map((turn) => turn.with.delaysBesideCheckpoints)),
    median(own.map((turn) => turn.with.checkpoints)),
    spread(own.map(({ recovery }) => recovery.recoveredMs)),
  ])
}
console.log(table.toString())
