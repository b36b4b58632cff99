import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { compiledModule, loadModule, requirePackage, withoutInputType } from './compiled.js'

describe('NODE_OPTIONS without --input-type', () => {
  it.each([
    ['', ''],
    ['--no-warnings', '--no-warnings'],
    ['--input-type=module', ''],
    ['--input-type module', ''],
    ['--input_type=commonjs --no-warnings', '--no-warnings'],
    ['--no-warnings  "--input-type=module" --stack-trace-limit=5', '--no-warnings --stack-trace-limit=5'],
    [String.raw`--require "/a b/\"c.cjs" --input-type module`, String.raw`--require "/a b/\"c.cjs"`],
    ['--require  ./input-type.cjs', '--require  ./input-type.cjs'],
  ])('%s', (options, expected) => {
    expect(withoutInputType(options)).toBe(expected)
  })
})

describe('a file of this package that a thread or process runs', () => {
  it('is INCOMPATIBLE where its file is not found, as in a bundle', () => {
    expect(() => compiledModule('#no/such-file')).toThrow(
      expect.objectContaining({ code: 'INCOMPATIBLE', message: expect.stringContaining('keep it external') }),
    )
  })
})

describe('a module that a thread is told to load', () => {
  it.each([
    ['loaded.cjs', 'exports.kind = "CommonJS"', 'CommonJS'],
    ['loaded.mjs', 'export const kind = "ES module"', 'ES module'],
  ])('%s, in a folder of any name', async (name, code, kind) => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast C# 100% '))
    try {
      writeFileSync(join(folder, name), code)
      expect(await loadModule(pathToFileURL(join(folder, name)).href)).toMatchObject({ kind })
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('is told where it is not there', async () => {
    await expect(loadModule('file:///no/such/module.cjs')).rejects.toThrow('Cannot find module')
    await expect(loadModule('file:///no/such/module.js')).rejects.toThrow('Cannot find module')
  })
})

describe('a package that is loaded when it is needed', () => {
  it('is INCOMPATIBLE where it does not load', () => {
    expect(() => requirePackage('no-such-package')).toThrow(
      expect.objectContaining({
        code: 'INCOMPATIBLE',
        message: expect.stringMatching(/package no-such-package on .*Cannot find module 'no-such-package'/),
      }),
    )
  })
})
