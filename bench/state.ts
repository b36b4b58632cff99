// npm run bench:state — typed state beside what a Node process would do without it. Every figure comes from a process of its own;
// the subjects take turns, run by run, and ratios compare the figures of one turn. Times are the processor's, of all threads.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Table from 'cli-table3'
import { Command } from 'commander'
import type { StateFigures } from './state-worker.js'
import { describeRatios, median, spread } from './statistics.js'

const { runs, sizes } = new Command('bench:state')
  .option('--runs <count>', 'turns of every subject', Number, 5)
  .option(
    '--sizes <list>',
    'keys, separated by commas',
    (text) => text.split(',').map(Number),
    [10_000, 1_000_000],
  )
  .parse()
  .opts<{ runs: number; sizes: number[] }>()

const worker = fileURLToPath(new URL('state-worker.js', import.meta.url))

function measure(subject: string, keys: number): StateFigures {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-bench-state-'))
  const args = ['--expose-gc', '--max-old-space-size=8192', worker, subject, String(keys), directory]
  try {
    return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as StateFigures
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** What is measured, and beside what: ratios above 1 are in favour of typed state. */
const comparisons: readonly (readonly [own: string, others: readonly string[]])[] = [
  ['add', ['Map, mutated', 'Map, replaced', 'by hand', 'add on LMDB']],
  ['json', ['Map of JSON']],
  ['map entry', ['map as JSON']],
  ['put indexed', ['put']],
  ['put indexed, moved', ['put', 'three writes by hand']],
  ['query of 20', []],
  ['read old', ['read']],
  ['migrate', []],
]

console.log(`Node ${process.version} on ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`)
for (const keys of sizes) {
  const table = new Table({
    head: ['', 'ns of processor', 'ratio', 'resident B/key'],
    style: { head: [], border: [] },
  })
  for (const [own, others] of comparisons) {
    const figures = new Map<string, StateFigures[]>([own, ...others].map((name) => [name, []]))
    for (let run = 0; run < runs; run++) {
      for (const [name, list] of figures) {
        list.push(measure(name, keys))
        process.stderr.write(`${keys} keys, turn ${run + 1} of ${runs}: ${name}\n`)
      }
    }
    const ownFigures = figures.get(own) ?? []
    for (const [name, list] of figures) {
      const ratios = list.map(({ ns }, run) => ns / (ownFigures[run]?.ns ?? Number.NaN))
      const bytes = median(list.map((each) => each.bytes ?? Number.NaN)).toFixed(0)
      table.push([name, spread(list.map(({ ns }) => ns)), name === own ? '' : describeRatios(ratios), bytes])
    }
  }
  console.log(
    `\n${keys.toLocaleString('en')} keys of [utf8, utf8], 24 bytes; medians of ${runs} turns (and ranges)`,
  )
  console.log(table.toString())
}
