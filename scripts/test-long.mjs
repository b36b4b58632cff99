// All tests with their full counts: each model run, each kill, each call that can fail. `npm test` runs the same ones, fewer
// times; HOLDFAST_LONG is what tells them.
//
//   node scripts/test-long.mjs [vitest argument]…

import { spawnSync } from 'node:child_process'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const vitest = path.join(root, 'node_modules/vitest/vitest.mjs')
const result = spawnSync(process.execPath, [vitest, 'run', ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: { ...process.env, HOLDFAST_LONG: '1' },
})
if (result.error) throw result.error
process.exitCode = result.status ?? 1
