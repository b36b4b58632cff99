// Makes one file of each module that a thread or process of its own loads first, and of all that it imports: a thread that loads some
// forty files one by one is busier with that than with starting (decision 35).
//
//   node scripts/bundle-threads.mjs
//
// (1) package.json's `imports` say what there is to make: `./dist/threads/NAME.cjs` is made of the one `dist/**/NAME.js`. CommonJS, since a
//     thread that loads an ES module first makes the loader of these ready, which takes as long as a third of its start (decision 139).
// (2) Packages, and what Node.js brings, stay outside.
// (3) dist/threads holds what was made, and nothing else; it comes into its place whole.

import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const target = path.join(root, 'dist/threads')
const manifest = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))

/** The compiled module that each file is made of. */
function entries() {
  const modules = fs
    .readdirSync(path.join(root, 'dist'), { recursive: true })
    .map((file) => file.split(path.sep).join('/'))
    .filter((file) => file.endsWith('.js') && !/^(threads|page)\//.test(file))
  return Object.values(manifest.imports).map((file) => {
    const name = path.posix.basename(file)
    const found = modules.filter((module) => path.posix.basename(module) === name.replace(/\.cjs$/, '.js'))
    if (path.posix.dirname(file) !== './dist/threads' || !name.endsWith('.cjs') || found.length !== 1) {
      throw new Error(`package.json: ${file} is to be made of one module of that name; found: ${found}`)
    }
    return { name, input: path.join(root, 'dist', found[0]) }
  })
}

const packages = Object.keys(manifest.dependencies)
const begun = path.join(root, `build/threads-${process.pid}`)
for (const { name, input } of entries()) {
  const bundle = await rolldown({
    input,
    cwd: root,
    platform: 'node',
    external: (id) => packages.includes(id) || id.startsWith('node:'),
    // What only unused code would have asked for is not loaded.
    treeshake: { moduleSideEffects: 'no-external' },
  })
  await bundle.write({ file: path.join(begun, name), format: 'cjs', codeSplitting: false, comments: false })
  await bundle.close()
}
fs.rmSync(target, { recursive: true, force: true })
fs.renameSync(begun, target)
