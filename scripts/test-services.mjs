// The tests of what speaks to outside systems, on the real servers: those of test/services/, whose names begin with that of a service. A
// system that cannot be had here is skipped, with the reason; a closing table counts what ran.
//
//   node scripts/test-services.mjs [name]…      default: all services

import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { prepareService, serviceNames } from './services/services.mjs'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const FOLDER = 'test/services'

function filesOf(name) {
  return fs
    .readdirSync(path.join(root, FOLDER))
    .filter(
      (file) => file.endsWith('.test.ts') && (file === `${name}.test.ts` || file.startsWith(`${name}-`)),
    )
    .map((file) => path.join(FOLDER, file))
}

/** Why a system cannot be had; `undefined` where it can. */
async function reasonAgainst(name) {
  try {
    await prepareService(name)
    return undefined
  } catch (error) {
    return error.message
  }
}

/** Runs the files, and returns what became of the tests of each. */
function run(files) {
  const report = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-services-')), 'report.json')
  const vitest = path.join(root, 'node_modules/vitest/vitest.mjs')
  const options = [
    '--config',
    'vitest.services.config.ts',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
  ]
  const result = spawnSync(process.execPath, [vitest, 'run', ...options, ...files], {
    cwd: root,
    stdio: 'inherit',
  })
  const found = fs.existsSync(report) ? JSON.parse(fs.readFileSync(report, 'utf8')).testResults : []
  fs.rmSync(path.dirname(report), { recursive: true, force: true })
  const byFile = new Map(found.map((each) => [path.relative(root, each.name), each]))
  return { hasPassed: result.status === 0, byFile }
}

function count(files, byFile) {
  const total = { passed: 0, failed: 0, skipped: 0, ms: 0 }
  for (const file of files) {
    const result = byFile.get(file)
    // A file that could not be loaded has no tests, and has failed.
    if (result === undefined || (result.status === 'failed' && result.assertionResults.length === 0))
      total.failed++
    if (result === undefined) continue
    for (const { status } of result.assertionResults) {
      if (status === 'passed' || status === 'failed') total[status]++
      else total.skipped++
    }
    total.ms += result.endTime - result.startTime
  }
  return total
}

const wanted = process.argv.length > 2 ? process.argv.slice(2) : serviceNames
const outcomes = []
for (const name of wanted) {
  const files = filesOf(name)
  const reason = files.length === 0 ? 'there are no tests of it' : await reasonAgainst(name)
  outcomes.push({ name, files, reason })
}
const all = [...new Set(outcomes.flatMap(({ files, reason }) => (reason === undefined ? files : [])))]
const { hasPassed, byFile } = all.length === 0 ? { hasPassed: true, byFile: new Map() } : run(all)

process.stdout.write('\nsystem     passed failed skipped      s\n')
let failed = 0
for (const { name, files, reason } of outcomes) {
  if (reason !== undefined) {
    process.stdout.write(`${name.padEnd(10)} skipped: ${reason}\n`)
    continue
  }
  const total = count(files, byFile)
  failed += total.failed
  const figures = [total.passed, total.failed, total.skipped].map((figure) => String(figure).padStart(6))
  process.stdout.write(
    `${name.padEnd(10)} ${figures.join(' ')} ${(total.ms / 1_000).toFixed(1).padStart(7)}\n`,
  )
}
const skipped = outcomes.filter(({ reason }) => reason !== undefined).length
process.stdout.write(`${outcomes.length - skipped} systems tested, ${skipped} skipped\n`)
process.exitCode = hasPassed && failed === 0 ? 0 : 1
