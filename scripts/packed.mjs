// The package as users get it: packed by npm, and installed in a project of its own.

import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { npmCommand } from './bootstrap.mjs'

export const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

/** Runs `work` with a fresh temporary folder, which is gone afterwards. */
export function withTemporaryFolder(work) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-packed-'))
  try {
    return work(folder)
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/** Runs npm; throws with its output where it fails. */
export function npm(args, directory) {
  const { command, args: first } = npmCommand()
  const shell = process.platform === 'win32' && first.length === 0
  const result = spawnSync(command, [...first, ...args, '--loglevel=error'], {
    cwd: directory,
    encoding: 'utf8',
    shell,
  })
  if (result.error) throw result.error
  if (result.status !== 0) throw new Error(`npm ${args[0]} failed:\n${result.stdout}${result.stderr}`)
  return result.stdout
}

/** Packs the built package into `folder` and returns the archive's path. */
export function pack(folder) {
  const report = npm(['pack', '--json', '--ignore-scripts', '--pack-destination', folder], ROOT)
  const [packed] = Object.values(JSON.parse(report))
  return path.join(folder, packed.filename)
}

/**
 * Makes a project in `folder` that depends on the archive, and returns the installed packages that are not those of
 * our lock file (none, if all is well: what was tested is then what users get today).
 */
export function installArchive(archive, folder) {
  fs.mkdirSync(folder, { recursive: true })
  const manifest = {
    name: 'consumer',
    private: true,
    type: 'module',
    dependencies: { holdfast: `file:${archive}` },
  }
  fs.writeFileSync(path.join(folder, 'package.json'), JSON.stringify(manifest))
  npm(['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'], folder)
  const locked = readLock(path.join(ROOT, 'package-lock.json'))
  const installed = readLock(path.join(folder, 'node_modules/.package-lock.json'))
  return Object.entries(installed)
    .filter(([place]) => place !== 'node_modules/holdfast')
    .map(([place, each]) => ({ ...each, ofThatName: versionsOf(nameAt(place), locked), place }))
    .filter(({ integrity, ofThatName }) => !ofThatName.some((each) => each.integrity === integrity))
    .map(({ place, version, ofThatName }) => {
      const known = ofThatName.map((each) => each.version).join(', ')
      return `${place} ${version}, locked is ${known === '' ? 'none' : known}`
    })
}

const nameAt = (place) => place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length)

/** Wherever in the tree: which of several versions is at its top depends on what else is installed. */
const versionsOf = (name, locked) =>
  Object.entries(locked)
    .filter(([place]) => nameAt(place) === name)
    .map(([, each]) => each)

function readLock(file) {
  return JSON.parse(fs.readFileSync(file, 'utf8')).packages
}
