// The tests with their full counts: each model run, each kill, each call that can fail. `npm test` runs the same ones, fewer
// times; HOLDFAST_LONG is what tells them. Files that have no other counts than those of `npm test` are left out.
//
//   node scripts/test-long.mjs [vitest argument]…

import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

/** Test files with counts of their own for a long run, as paths in the repository. */
export function filesWithLongCounts() {
  return ['src', 'test', 'examples']
    .flatMap((folder) =>
      fs.readdirSync(path.join(root, folder), { recursive: true }).map((name) => path.join(folder, name)),
    )
    .filter((name) => name.endsWith('.test.ts'))
    .filter((name) =>
      /\/support\/long\.js'|HOLDFAST_LONG/.test(fs.readFileSync(path.join(root, name), 'utf8')),
    )
}

function main(args) {
  const vitest = path.join(root, 'node_modules/vitest/vitest.mjs')
  const namesFiles = args.some((argument) => !argument.startsWith('-'))
  const files = namesFiles ? [] : filesWithLongCounts()
  if (!namesFiles)
    process.stdout.write(`the ${files.length} files that have full counts; npm test runs the others\n`)
  const result = spawnSync(process.execPath, [vitest, 'run', ...args, ...files], {
    stdio: 'inherit',
    env: { ...process.env, HOLDFAST_LONG: '1' },
  })
  if (result.error) throw result.error
  process.exitCode = result.status ?? 1
}

const entry = process.argv[1]
if (entry !== undefined && import.meta.url === pathToFileURL(fs.realpathSync(entry)).href) {
  main(process.argv.slice(2))
}
