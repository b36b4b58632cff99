// The public suites of the ecosystems that the adapters belong to, as their own packages have them (test/adapters/): for what tests
// itself. Their packages are installed in a project of their own, build/adapters/, by the lock file that lies with the tests.
//
//   node scripts/test-adapters.mjs [name]…      default: all suites

import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { npm, ROOT } from './packed.mjs'

const TESTS = path.join(ROOT, 'test/adapters')
const PROJECT = path.join(ROOT, 'build/adapters')
const LIMIT_MS = 300_000

/** What runs each suite, and where its output says how many passed and failed. */
const tape = { passed: /^# pass +(\d+)$/m, failed: /^# fail +(\d+)$/m }
const vitest = 'node_modules/vitest/vitest.mjs'
const vitestCounts = { passed: /^ +Tests .*?(\d+) passed/m, failed: /^ +Tests .*?(\d+) failed/m }
/** What LangGraph's own savers for memory, SQLite and MongoDB leave out of the suite as well (decision 69). */
const storesWhole = '^(?!.*should only store channel_values that have changed)'
const suites = [
  { name: 'level-memory', args: ['level.mjs', 'memory'], ...tape },
  { name: 'level-lmdb', args: ['level.mjs', 'lmdb'], ...tape },
  { name: 'keyv', args: [vitest, 'run', '--root', '.', 'keyv'], ...vitestCounts },
  { name: 'nest', args: [vitest, 'run', '--root', '.', 'nest'], ...vitestCounts },
  {
    name: 'langgraph',
    // The suite takes what vitest has from the global object.
    args: [vitest, 'run', '--root', '.', '--globals', '-t', storesWhole, 'langgraph'],
    ...vitestCounts,
  },
  { name: 'others', args: [vitest, 'run', '--root', '.', 'others'], ...vitestCounts },
]

function install() {
  // Noted when an installation is complete: one that failed or was ended is made anew.
  const note = path.join(PROJECT, 'installed.json')
  const wanted = fs.readFileSync(path.join(TESTS, 'package-lock.json'), 'utf8')
  const isCurrent = fs.existsSync(note) && fs.readFileSync(note, 'utf8') === wanted
  fs.mkdirSync(PROJECT, { recursive: true })
  for (const file of fs.readdirSync(TESTS)) fs.copyFileSync(path.join(TESTS, file), path.join(PROJECT, file))
  // Keyv 6 asks for Node.js 22; what is used of it here runs on 20 as well.
  const lenient = ['--no-engine-strict', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline']
  if (!isCurrent) {
    fs.rmSync(note, { force: true })
    npm(['ci', ...lenient], PROJECT)
    fs.writeFileSync(note, wanted)
  }
  const own = path.join(PROJECT, 'node_modules/holdfast')
  fs.rmSync(own, { recursive: true, force: true })
  fs.symlinkSync(ROOT, own, 'junction')
}

function run({ name, args, passed, failed }) {
  const began = performance.now()
  const result = spawnSync(process.execPath, args, {
    cwd: PROJECT,
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' },
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    timeout: LIMIT_MS,
  })
  const seconds = (performance.now() - began) / 1_000
  const output = `${result.stdout}${result.stderr}`
  const countOf = (pattern) => Number(pattern.exec(output)?.[1] ?? 0)
  const counts = { passed: countOf(passed), failed: countOf(failed) }
  const isGood = result.status === 0 && counts.failed === 0 && counts.passed > 0
  if (!isGood) process.stdout.write(`\n--- ${name}\n${linesAbout(output)}\n`)
  return { name, ...counts, isGood, seconds }
}

/** What went wrong, of an output that may have thousands of lines that say what went right. */
function linesAbout(output) {
  const lines = output.split('\n').filter((line) => !/^ok \d+ /.test(line))
  return lines.slice(-200).join('\n')
}

const wanted = process.argv.slice(2)
install()
const outcomes = suites.filter(({ name }) => wanted.length === 0 || wanted.includes(name)).map(run)
process.stdout.write('\nsuite                    passed failed       s\n')
for (const { name, passed, failed, isGood, seconds } of outcomes) {
  const figures = [passed, failed].map((figure) => String(figure).padStart(6)).join(' ')
  process.stdout.write(
    `${name.padEnd(24)} ${figures} ${seconds.toFixed(1).padStart(7)}${isGood ? '' : '  FAILED'}\n`,
  )
}
process.exitCode = outcomes.length > 0 && outcomes.every(({ isGood }) => isGood) ? 0 : 1
