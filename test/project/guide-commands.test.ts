// Every command that the documents print is run as it is printed, in the order of the page, in a folder where the programs of docs/cli.md and of README have run.

import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fencesOf, runBlocksOf } from './markdown.js'
import { root } from './source-file.js'

const main = join(root, 'dist/command/main.js')
const PAGES = ['docs/cli.md', 'README.md', 'docs/inspector.md']

/** The lines of shell blocks that call the command line, without what stands behind `#`. */
const commandsIn = (page: string): string[] =>
  fencesOf(readFileSync(join(root, page), 'utf8'))
    .filter(({ language }) => language === 'sh')
    .flatMap(({ text }) => text.split('\n'))
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter((line) => /(^|\| )(npx )?holdfast /.test(line))

/** Inside the repository, so that `import … from 'holdfast'` means the built package. */
let folder = ''
let env: NodeJS.ProcessEnv = {}

beforeAll(() => {
  if (!existsSync(main)) throw new Error('build first: npm run build')
  mkdirSync(join(root, 'build'), { recursive: true })
  folder = mkdtempSync(join(root, 'build/guide-'))
  for (const page of ['docs/cli.md', 'README.md']) {
    const [program] = runBlocksOf(readFileSync(join(root, page), 'utf8'))
    const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }
    const { outputText } = ts.transpileModule(program?.text ?? '', { compilerOptions })
    writeFileSync(join(folder, 'program.mjs'), outputText)
    const made = spawnSync(process.execPath, ['program.mjs'], { cwd: folder, encoding: 'utf8' })
    if (made.status !== 0) throw new Error(`the program of ${page} failed: ${made.stderr}`)
  }
  // As npm links it, and as npx finds it.
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  const scripts = { holdfast: `exec "${process.execPath}" "${main}" "$@"`, npx: 'exec "$@"' }
  for (const [name, line] of Object.entries(scripts)) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${line}\n`)
    chmodSync(join(bin, name), 0o755)
  }
  env = { ...process.env, PATH: [bin, process.env['PATH']].join(delimiter) }
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const isThere = (program: string) => spawnSync(program, ['--version']).error === undefined

/** Why a command cannot be run here. */
const missingFor = (command: string): string | undefined =>
  command.includes('| jq ') && !isThere('jq') ? 'jq is not installed' : undefined

// A later one takes what an earlier one has made, also on the next page: whoever reads them goes in this order.
describe('typed one after the other,', { shuffle: false }, () => {
  describe.each(PAGES)('the commands of %s', (page) => {
    const commands = commandsIn(page)

    it('are there', () => {
      expect(commands.length).toBeGreaterThan(0)
    })

    for (const command of commands) {
      const missing = missingFor(command)
      const title = missing === undefined ? command : `${command} (skipped: ${missing})`
      it.skipIf(missing !== undefined)(title, async () => {
        if (/holdfast ui /.test(command)) {
          await servesUntilInterrupted(command)
          return
        }
        const options = { cwd: folder, env, encoding: 'utf8', timeout: 120_000 } as const
        const { status, stdout, stderr } = spawnSync('bash', ['-c', `set -o pipefail; ${command}`], options)
        expect([status, stderr]).toEqual([0, ''])
        expect(stdout).not.toBe('')
      })
    }
  })
})

/** A page is served until Ctrl-C. */
async function servesUntilInterrupted(command: string): Promise<void> {
  // A port that is printed may be somebody else's here.
  const elsewhere = command.replace(/--port \d+/, '--port 0')
  const child = spawn('bash', ['-c', `exec ${elsewhere}`], { cwd: folder, env })
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const address = await Promise.race([
    new Promise<string>((resolve) => child.stdout.once('data', (piece) => resolve(String(piece)))),
    ended.then((status) => `ended with ${status}`),
  ])
  expect(address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\//)
  expect((await fetch(address.trim())).status).toBe(200)
  child.kill('SIGINT')
  expect(await ended).toBe(0)
}
