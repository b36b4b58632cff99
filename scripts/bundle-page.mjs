// Makes what the inspector serves: one script, one style sheet, the page that names them, and the licences of what is in them.
//
//   node scripts/bundle-page.mjs
//
// (1) build/page/main.js is what the compiler made of page/main.tsx; packages are bundled with it: the page works without a network.
// (2) dist/page holds what was made, and nothing else; it comes into its place whole.

import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const target = path.join(root, 'dist/page')
const begun = path.join(root, `build/page-${process.pid}`)
const read = (...names) => fs.readFileSync(path.join(root, ...names), 'utf8')

/** The packages that the page consists of besides our own. */
const PACKAGES = ['preact', 'uplot']

const licences = PACKAGES.map((name) => {
  const { version, license } = JSON.parse(read('node_modules', name, 'package.json'))
  return `${name} ${version} (${license})\n\n${read('node_modules', name, 'LICENSE').trim()}\n`
})

fs.mkdirSync(begun, { recursive: true })
const bundle = await rolldown({
  input: path.join(root, 'build/page/main.js'),
  cwd: root,
  platform: 'browser',
  onLog: (level, log) => {
    throw new Error(`${level}: ${log.message}`)
  },
})
const legal = `/*! holdfast's inspector, with ${PACKAGES.join(' and ')}: licences.txt has their licences. */`
await bundle.write({
  file: path.join(begun, 'page.js'),
  format: 'esm',
  codeSplitting: false,
  minify: true,
  banner: legal,
})
await bundle.close()
fs.writeFileSync(
  path.join(begun, 'page.css'),
  `${legal}\n${read('node_modules/uplot/dist/uPlot.min.css')}\n${read('page/page.css')}`,
)
for (const file of ['index.html', 'icon.svg'])
  fs.copyFileSync(path.join(root, 'page', file), path.join(begun, file))
fs.writeFileSync(path.join(begun, 'licences.txt'), licences.join(`\n${'-'.repeat(72)}\n\n`))
fs.rmSync(target, { recursive: true, force: true })
fs.renameSync(begun, target)
