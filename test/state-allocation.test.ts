import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const script = fileURLToPath(new URL('./support/count-allocations.mjs', import.meta.url))
const built = fileURLToPath(new URL('../dist/state.js', import.meta.url))

function count(calls: number): { [call: string]: number } {
  // Half a GiB for young objects: nothing is collected while it is counted. When the compiler looks at a loop decides what it inlines:
  // on a thread of its own, that depends on how busy the machine is.
  const flags = [
    '--expose-gc',
    '--min-semi-space-size=512',
    '--max-semi-space-size=512',
    '--no-concurrent-recompilation',
  ]
  const child = spawnSync(process.execPath, [...flags, script, join(built, '..'), String(calls)], {
    encoding: 'utf8',
  })
  expect(child.stderr).toBe('')
  return JSON.parse(child.stdout) as { [call: string]: number }
}

// A plain `float64` or `int64` is not among them: a function takes and returns it as an object, unless it is inlined (docs/state.md).
// Fields of structs pass by properties that V8 makes part of the function.
describe('states of numbers and structs on the memory engine', () => {
  it('allocate less than a byte per call: add, update, put, get, view', () => {
    if (!existsSync(built)) throw new Error('build first: npm run build')
    const calls = process.env['HOLDFAST_LONG'] === '1' ? 1_000_000 : 50_000
    let bytesPerCall = count(calls)
    // What one process has not shown, another one may.
    for (let i = 0; i < 3 && Object.values(bytesPerCall).filter((bytes) => bytes >= 1).length > 1; i++) {
      const again = count(calls)
      const least = Object.entries(bytesPerCall).map(([call, bytes]) => [
        call,
        Math.min(bytes, again[call] ?? bytes),
      ])
      bytesPerCall = Object.fromEntries(least) as typeof bytesPerCall
    }
    expect(Object.keys(bytesPerCall).length).toBe(13)
    for (const [call, bytes] of Object.entries(bytesPerCall)) {
      if (call === 'a call that makes an object') expect(bytes, call).toBeGreaterThan(10)
      else expect(bytes, call).toBeLessThan(1)
    }
  })
})
