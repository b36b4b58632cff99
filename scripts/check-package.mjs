// Looks at the packed package with publint and "are the types wrong?". Needs a build; uses no network.

import { spawnSync } from 'node:child_process'
import * as path from 'node:path'
import { pack, ROOT, withTemporaryFolder } from './packed.mjs'

const TOOLS = [
  { script: 'node_modules/publint/src/cli.js', args: (archive) => ['run', archive, '--strict'] },
  {
    script: 'node_modules/@arethetypeswrong/cli/dist/index.js',
    args: (archive) => [archive, '--profile', 'esm-only', '--no-definitely-typed', '--no-emoji'],
  },
]

withTemporaryFolder((folder) => {
  const archive = pack(folder)
  for (const { script, args } of TOOLS) {
    const result = spawnSync(process.execPath, [path.join(ROOT, script), ...args(archive)], {
      stdio: 'inherit',
    })
    if (result.status !== 0) process.exitCode = 1
  }
})
