// Makes what users import, and the command that they call: a few files of the compiled modules and of all that they import, since loading
// some three hundred of them one by one takes three times as long, and some two hundred of a command longer than most commands.
//
//   node scripts/bundle-entries.mjs
//
// (1) package.json's `exports` say what users import: `./dist/entries/NAME.js` is made of `dist/NAME.js`; its `bin`, in dist/command, is made
//     of dist/cli/main.js. What commands load when they are called is a file of its own, and so is what several share: there is one copy of
//     it in each of the two folders, and who loads a file loads hardly more than it needs.
// (2) Packages, and what Node.js brings, stay outside; so do threads (scripts/bundle-threads.mjs).
// (3) The folders hold what was made, and nothing else; each comes into its place whole.

import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const { exports } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
const imported = Object.values(exports).flatMap(({ default: file }) =>
  file === undefined ? [] : [path.posix.basename(file, '.js')],
)

/** Makes `dist/FOLDER` of modules in dist/, by the names that their files are to have. */
async function make(folder, modules) {
  const target = path.join(root, 'dist', folder)
  const begun = path.join(root, `build/${folder}-${process.pid}`)
  const bundle = await rolldown({
    input: Object.fromEntries(
      Object.entries(modules).map(([name, module]) => [name, path.join(root, 'dist', module)]),
    ),
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
}

await make('entries', Object.fromEntries(imported.map((name) => [name, `${name}.js`])))
await make('command', { main: 'cli/main.js' })
