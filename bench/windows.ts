// npm run bench:windows — jobs with windows, and a counter without, beside what one writes by hand. Every figure comes from a process of
// its own; the subjects take turns, run by run. Times are the processor's, of all threads, and include making the events. The last cut of a
// job is a checkpoint of all that is in its state, made once however many events there were: it is shown beside what the events took.

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Table from 'cli-table3'
import { Command } from 'commander'
import { median, spread } from './statistics.js'
import type { FlatFigures } from './windows-flat-worker.js'
import type { RestartFigures } from './windows-restart-worker.js'
import type { WindowFigures } from './windows-worker.js'

const { runs, events, restart, flat, metrics } = new Command('bench:windows')
  .option('--runs <count>', 'turns of every subject', Number, 3)
  .option('--events <count>', 'events of every run', Number, 5_000_000)
  .option('--restart', 'instead: from a kill to the first new result, with a million keys of state')
  .option(
    '--flat <events>',
    'instead: memory and delay where every event has a new key, a million of them alive',
    Number,
  )
  .option(
    '--metrics',
    'instead: what it costs that a job is watched: metrics collected each second, every channel heard',
  )
  .parse()
  .opts<{ runs: number; events: number; restart?: true; flat?: number; metrics?: true }>()

const worker = fileURLToPath(new URL('windows-worker.js', import.meta.url))

function measure(subject: string, work: string, count: number): WindowFigures {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-bench-windows-'))
  const args = ['--expose-gc', '--max-old-space-size=8192', worker, subject, work, String(count), directory]
  try {
    return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as WindowFigures
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** What is done with the events, by whom, and with which part of them where it is much slower. */
const works: readonly (readonly [work: string, subjects: readonly string[], part: number])[] = [
  [
    'windows of 60 s, 1 M keys',
    ['Map by hand', 'engine by hand', 'job', 'job, checkpoints', 'job on LMDB'],
    1,
  ],
  [
    'windows of 60 s, 1,000 keys',
    ['Map by hand', 'engine by hand', 'job', 'job, checkpoints', 'job on LMDB'],
    1,
  ],
  ['sessions, 100 K keys', ['Map by hand', 'job'], 1],
  ['hopping 60 s by 5 s, 1,000 keys', ['Map by hand', 'job'], 1],
  ['hopping 60 s by 5 s, 1 M keys', ['Map by hand', 'job'], 0.2],
  [
    'counter, 1 M keys',
    [
      'Map by hand',
      'engine by hand',
      'engine in place',
      'typed state by hand',
      'source alone',
      'job without state',
      'LMDB by hand',
      'job',
      'job, checkpoints',
      'job on LMDB',
    ],
    1,
  ],
]

const KEYS = 1_000_000

/** A worker of its own; `undefined` where it has killed itself, as it is to. */
function runWorker(file: string, args: readonly string[]): string | undefined {
  const path = fileURLToPath(new URL(file, import.meta.url))
  const options = ['--max-old-space-size=8192', path, ...args]
  const { status, signal, stdout } = spawnSync(process.execPath, options, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (signal === 'SIGKILL') return undefined
  if (status !== 0) throw new Error(`${file} ended with ${status ?? signal}`)
  return stdout
}

function compareRestarts(): void {
  const restarts = new Table({
    head: ['', 'first new result, s', 's of processor', 's to the last one that is due'],
    style: { head: [], border: [] },
  })
  for (const work of ['counter', 'windows']) {
    for (const engine of ['memory', 'lmdb']) {
      const figures: RestartFigures[] = []
      for (let turn = 0; turn < runs; turn++) {
        const directory = mkdtempSync(join(tmpdir(), 'holdfast-bench-restart-'))
        try {
          runWorker('windows-restart-worker.js', ['fill', work, engine, String(KEYS), directory])
          const printed = runWorker('windows-restart-worker.js', [
            'resume',
            work,
            engine,
            String(KEYS),
            directory,
          ])
          figures.push(JSON.parse(printed ?? '') as RestartFigures)
        } finally {
          rmSync(directory, { recursive: true, force: true })
        }
      }
      restarts.push([
        `${work} on ${engine}`,
        spread(figures.map(({ seconds }) => seconds)),
        spread(figures.map(({ processorSeconds }) => processorSeconds)),
        spread(figures.map(({ restSeconds }) => restSeconds)),
      ])
    }
  }
  console.log(restarts.toString())
}

function showFlat(count: number): void {
  const parts = JSON.parse(
    runWorker('windows-flat-worker.js', [String(count), String(KEYS)]) ?? '',
  ) as FlatFigures[]
  const shown = new Table({
    head: ['events', 'resident, MiB', 's of processor', 'delay p99, ms', 'delay max, ms'],
    style: { head: [], border: [] },
  })
  for (const part of parts) {
    shown.push([
      part.events.toLocaleString('en'),
      (part.residentBytes / 2 ** 20).toFixed(0),
      part.processorSeconds.toFixed(2),
      part.delayP99Ms.toFixed(1),
      part.delayMaxMs.toFixed(1),
    ])
  }
  console.log(shown.toString())
}

/** The same job watched and not, one directly after the other and in turn the first: each ratio is of one such pair. */
function compareWatched(): void {
  const table = new Table({
    head: ['', 's of processor per M events', 'watched', 'watched : not, of each pair'],
    style: { head: [], border: [] },
  })
  const watchedWorks = [
    ['windows of 60 s, 1 M keys', 'job'],
    ['windows of 60 s, 1,000 keys', 'job, checkpoints'],
    ['sessions, 100 K keys', 'job'],
    ['counter, 1 M keys', 'job'],
    ['windows of 60 s, 1 M keys', 'job on LMDB'],
  ] as const
  for (const [work, subject] of watchedWorks) {
    const plain: number[] = []
    const watched: number[] = []
    for (let turn = 0; turn < runs; turn++) {
      const pair = [
        () => plain.push(wholeSeconds(measure(subject, work, events), events)),
        () => watched.push(wholeSeconds(measure(`${subject}, watched`, work, events), events)),
      ]
      for (const each of turn % 2 === 0 ? pair : pair.reverse()) each()
      process.stderr.write(`${work}, turn ${turn + 1} of ${runs}: ${subject}\n`)
    }
    const ratios = plain.map((seconds, i) => (watched[i] as number) / seconds)
    const range = `${Math.min(...ratios).toFixed(3)}–${Math.max(...ratios).toFixed(3)}`
    table.push([
      `${work}: ${subject}`,
      median(plain).toFixed(3),
      median(watched).toFixed(3),
      `${median(ratios).toFixed(3)} (${range})`,
    ])
  }
  console.log(table.toString())
}

/** Up to the end of the job, its last cut included, per million events. */
const wholeSeconds = ({ secondsPerMillion, lastCutSeconds }: WindowFigures, count: number): number =>
  secondsPerMillion + (lastCutSeconds * 1e6) / count

const eventsOf = (part: number): number => Math.round(events * part)

console.log(`Node ${process.version} on ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`)
if (restart === true) compareRestarts()
else if (flat !== undefined) showFlat(flat)
else if (metrics === true) compareWatched()
else compareSpeeds()

function compareSpeeds(): void {
  const table = new Table({
    head: [
      '',
      's of processor\nper M events',
      'beside that,\nof the last cut',
      'both, per\nM events',
      'results\nper event',
      'delay p99,\nms',
      'delay max,\nms',
      'the same once\nit is ready',
    ],
    style: { head: [], border: [] },
  })
  for (const [work, subjects, part] of works) {
    const figures = new Map<string, WindowFigures[]>(subjects.map((name) => [name, []]))
    for (let run = 0; run < runs; run++) {
      for (const [name, list] of figures) {
        list.push(measure(name, work, eventsOf(part)))
        process.stderr.write(`${work}, turn ${run + 1} of ${runs}: ${name}\n`)
      }
    }
    table.push([{ colSpan: 8, content: work }])
    for (const [name, list] of figures) {
      const seconds = list.map((each) => each.secondsPerMillion)
      const range = `${median(seconds).toFixed(2)} (${Math.min(...seconds).toFixed(2)}–${Math.max(...seconds).toFixed(2)})`
      const [first] = list
      const isJob = name.startsWith('job')
      table.push([
        name,
        range,
        isJob ? `${median(list.map((each) => each.lastCutSeconds)).toFixed(2)} s` : '',
        isJob ? median(list.map((each) => wholeSeconds(each, eventsOf(part)))).toFixed(2) : '',
        first?.resultsPerEvent.toFixed(2) ?? '',
        isJob ? spread(list.map((each) => each.delayP99Ms)) : '',
        isJob ? spread(list.map((each) => each.delayMaxMs)) : '',
        isJob ? spread(list.map((each) => each.runningDelayMaxMs)) : '',
      ])
    }
  }
  console.log(
    `\n${events.toLocaleString('en')} events, disorder up to 500 ms; medians of ${runs} turns (and ranges)`,
  )
  console.log(table.toString())
}
