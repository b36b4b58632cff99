import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { expect, it } from 'vitest'
import { compileSources } from './compile-sources.js'

it('what a child script says arrives as a whole where whoever reads it is behind', async () => {
  const sources = await compileSources()
  const module = pathToFileURL(sources.pathOf('test/faults/children/say-line.ts')).href
  // Once it is looked at, standard output does not wait.
  const says = `process.stdout; sayLine('x'.repeat(2_000_000)); sayLine('end')`
  const script = `import { sayLine } from ${JSON.stringify(module)}; ${says}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const errors = text(child.stderr)
  // More than a pipe holds is there by then.
  await sleep(300)
  const said = await text(child.stdout)
  expect(await errors).toBe('')
  expect(said.length).toBe(2_000_000 + 1 + 'end\n'.length)
})
