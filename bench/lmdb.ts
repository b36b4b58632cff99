// npm run bench:lmdb — the persistent engine beside what it is built on and its neighbours. Every turn of every subject
// is a process of its own on a directory of its own; the subjects take turns, and ratios compare one turn.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Table from 'cli-table3'
import { Command } from 'commander'
import { type SubjectName, subjectNames } from './lmdb-subjects.js'
import type { Figures } from './lmdb-worker.js'
import { describeRatios, median } from './statistics.js'

const { runs, entries, directory } = new Command('bench:lmdb')
  .option('--runs <count>', 'turns of every subject', Number, 3)
  .option('--entries <count>', 'entries in the store', Number, 1_000_000)
  .option('--directory <path>', 'where the stores are made and removed', tmpdir())
  .parse()
  .opts<{ runs: number; entries: number; directory: string }>()

const worker = fileURLToPath(new URL('lmdb-worker.js', import.meta.url))

function measure(name: SubjectName): Figures {
  const folder = mkdtempSync(join(directory, 'holdfast-bench-'))
  try {
    const args = ['--max-old-space-size=4096', worker, name, String(entries), join(folder, 'store')]
    return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as Figures
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const measured: Record<SubjectName, Figures[]> = { holdfast: [], lmdb: [], 'classic-level': [] }
for (let run = 0; run < runs; run++) {
  for (const name of subjectNames) {
    measured[name].push(measure(name))
    process.stderr.write(`turn ${run + 1} of ${runs}: ${name}\n`)
  }
}

const rows: readonly { label: string; figure: keyof Figures; asked: number }[] = [
  { label: 'put, each awaited (ns)', figure: 'putAwaited', asked: 20 },
  { label: 'put, accepted and readable (ns)', figure: 'accepted', asked: 3 },
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
    `${asked}x ${median(ratios) >= asked ? 'met' : 'NOT met'}`,
  ])
}
console.log(table.toString())
const pause = median(measured.holdfast.map(({ pauseMs }) => pauseMs))
console.log(
  `holdfast: longest pause of the event loop under full load ${pause.toFixed(1)} ms (at most 15 asked)`,
)
