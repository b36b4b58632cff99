// Packs the built package, installs it in a project of its own and runs smoke.mjs there.
//
//   node scripts/smoke-packed.mjs [MAJOR]     on the newest Node of that major version, taken from the registry;
//                                             without an argument on the Node that runs this

import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { installArchive, npm, pack, ROOT, withTemporaryFolder } from './packed.mjs'

/** Installs a Node of the given major version for this machine and returns its path. */
function installNode(major, folder) {
  fs.mkdirSync(folder)
  const name = `node-${process.platform}-${process.arch}`
  fs.writeFileSync(path.join(folder, 'package.json'), '{ "private": true }')
  npm(['install', '--ignore-scripts', '--no-audit', '--no-fund', `${name}@${major}`], folder)
  return path.join(folder, 'node_modules', name, 'bin/node')
}

function smoke(major, folder) {
  const project = path.join(folder, 'project')
  const strangers = installArchive(pack(folder), project)
  if (strangers.length > 0) throw new Error(`not the locked packages:\n${strangers.join('\n')}`)
  const node = major === undefined ? process.execPath : installNode(major, path.join(folder, 'node'))
  fs.copyFileSync(path.join(ROOT, 'scripts/smoke.mjs'), path.join(project, 'smoke.mjs'))
  const args = ['smoke.mjs', ...(major === undefined ? [] : [major])]
  const result = spawnSync(node, args, {
    cwd: project,
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: 120_000,
  })
  if (result.error) throw result.error
  return result.status ?? 1
}

const major = process.argv[2]
if (major !== undefined && !/^\d+$/.test(major)) {
  process.stderr.write(`smoke: '${major}' is not a major version of Node\n`)
  process.exitCode = 1
} else {
  try {
    process.exitCode = withTemporaryFolder((folder) => smoke(major, folder))
  } catch (error) {
    process.stderr.write(`smoke: ${error.message}\n`)
    process.exitCode = 1
  }
}
