import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { compiledSources } from './compiled-sources.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

describe('tests on a current build', () => {
  it('get what was compiled of the sources, and nothing else of it', async () => {
    const compiled = await compiledSources(() => true)
    const plugin = compiled?.plugins[0] as unknown as {
      resolveId(specifier: string, importer?: string): object | undefined
    }
    const test = join(root, 'src/base/shapes.test.ts')
    const errors = join(root, 'dist/base/errors.js')
    expect(plugin.resolveId('./errors.js', test)).toEqual({ id: errors, external: true })
    expect(plugin.resolveId('../../src/base/errors.js', join(root, 'test/support/long.ts'))).toEqual({
      id: errors,
      external: true,
    })
    for (const other of [
      './shapes.test.js',
      './nowhere.js',
      '../../test/support/long.js',
      'vitest',
      errors,
    ]) {
      expect(plugin.resolveId(other, test), other).toBeUndefined()
    }
    expect(plugin.resolveId('./src/base/errors.js')).toBeUndefined()
    expect(compiled?.external.some((pattern) => pattern.test(errors))).toBe(true)
    expect(compiled?.external.some((pattern) => pattern.test(join(root, 'src/base/errors.ts')))).toBe(false)
  })

  it('do not where it is not current', async () => {
    expect(await compiledSources(() => false)).toBeUndefined()
  })
})
