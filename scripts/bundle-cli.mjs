// Makes the command that users call: a few files of the compiled modules of the command line, and of all that they import, since loading
// some two hundred of them one by one takes longer than most commands.
//
//   node scripts/bundle-cli.mjs
//
// (1) package.json's `bin` is made of dist/cli/main.js. What commands load when they are called is a file of its own, and so is what several share.
// (2) Packages, and what Node.js brings, stay outside; so do threads (scripts/bundle-threads.mjs).
// (3) dist/command holds what was made, and nothing else; it comes into its place whole.

import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const target = path.join(root, 'dist/command')
const begun = path.join(root, `build/command-${process.pid}`)

const bundle = await rolldown({
  input: path.join(root, 'dist/cli/main.js'),
  cwd: root,
  platform: 'node',
  external: (id) => !id.startsWith('.') && !path.isAbsolute(id),
})
await bundle.write({
  dir: begun,
  format: 'esm',
  entryFileNames: '[name].js',
  chunkFileNames: '[name]-[hash].js',
})
await bundle.close()
fs.rmSync(target, { recursive: true, force: true })
fs.renameSync(begun, target)
