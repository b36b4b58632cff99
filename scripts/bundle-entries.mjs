// Makes what users import: a few files of the compiled modules of all entries of the package, and of all that they import, since loading
// some three hundred of them one by one takes three times as long.
//
//   node scripts/bundle-entries.mjs
//
// (1) package.json's `exports` say what there is to make: `./dist/entries/NAME.js` is made of `dist/NAME.js`. What several share is a file of
//     its own, so that there is one copy of it, and an entry loads hardly more than it needs.
// (2) Packages, and what Node.js brings, stay outside; so do threads (scripts/bundle-threads.mjs).
// (3) dist/entries holds what was made, and nothing else; it comes into its place whole.

import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const target = path.join(root, 'dist/entries')
const begun = path.join(root, `build/entries-${process.pid}`)
const { exports } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))

const names = Object.values(exports).flatMap(({ default: file }) =>
  file === undefined ? [] : [path.posix.basename(file, '.js')],
)
const bundle = await rolldown({
  input: Object.fromEntries(names.map((name) => [name, path.join(root, 'dist', `${name}.js`)])),
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
