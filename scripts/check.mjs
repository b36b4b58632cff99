// The whole gate. Every step runs, also after one has failed; the last line counts the outcomes.
//
//   node scripts/check.mjs          runs the steps
//   node scripts/check.mjs --list   prints their names, the tests left out: .ci/run has its own way to run those

import { spawnSync } from 'node:child_process'
import { npmCommand } from './bootstrap.mjs'

const STEPS = ['build', 'typecheck', 'lint', 'format:check', 'unused', 'package', 'test:project', 'test']

function runStep(name) {
  process.stdout.write(`\n--- ${name}\n`)
  const npm = npmCommand()
  const shell = process.platform === 'win32' && npm.args.length === 0
  const result = spawnSync(npm.command, [...npm.args, 'run', '--silent', name], {
    stdio: ['ignore', 'inherit', 'inherit'],
    shell,
  })
  return result.status === 0
}

function check() {
  const outcomes = STEPS.map((name) => ({ name, passed: runStep(name) }))
  process.stdout.write('\n')
  for (const { name, passed } of outcomes) process.stdout.write(`${passed ? 'ok    ' : 'FAILED'} ${name}\n`)
  const failed = outcomes.filter((outcome) => !outcome.passed).length
  process.stdout.write(`${outcomes.length - failed} passed, ${failed} failed\n`)
  process.exitCode = failed === 0 ? 0 : 1
}

if (process.argv[2] === '--list') {
  process.stdout.write(`${STEPS.filter((name) => name !== 'test').join('\n')}\n`)
} else {
  check()
}
