import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mountMissing, onSmallDisk } from '../../../test/faults/mounted.js'
import { directoryFindings, type FileSystem, type Finding, fileSystemFindings } from './directory.js'
import { machineFindings } from './machine.js'

const ROOMY: FileSystem = { type: 0xef53, bsize: 4_096, bavail: 10_000_000, files: 1_000, ffree: 900 }

const finding = (findings: readonly Finding[], what: string) => findings.find((each) => each.what === what)

describe('a file system', () => {
  it('is fine where it is a disk with room', () => {
    expect(fileSystemFindings(ROOMY).map(({ status }) => status)).toEqual(['ok', 'ok'])
    // Some count no files.
    expect(fileSystemFindings({ ...ROOMY, files: 0, ffree: 0 })[1]?.status).toBe('ok')
  })

  it.each([
    ['one over a network', { type: 0x6969 }, 'file system', 'problem', 'local disk'],
    ['one in memory', { type: 0x01021994 }, 'file system', 'problem', 'use a directory on a disk'],
    ['that of a container', { type: 0x794c7630 }, 'file system', 'note', 'use a volume'],
    ['a full one', { bavail: 10 }, 'free space', 'problem', 'holdfast prune'],
    ['one with no room for files', { ffree: 3 }, 'free space', 'problem', 'only 3 more files'],
  ] as const)('%s is told, with what to do', (_, difference, what, status, advice) => {
    const found = finding(fileSystemFindings({ ...ROOMY, ...difference }), what)
    expect([found?.status, found?.detail]).toEqual([status, expect.stringContaining(advice)])
  })

  const missing = mountMissing()
  it.skipIf(missing !== undefined)(
    `that is read-only is no matter of permissions${missing === undefined ? '' : ` (skipped: ${missing})`}`,
    async () => {
      await onSmallDisk('size=1m', async (folder) => {
        execFileSync('mount', ['-o', 'remount,ro', folder])
        const findings = await directoryFindings(folder)
        expect(finding(findings, 'permissions')).toBeUndefined()
        expect(finding(findings, 'read-only')).toMatchObject({
          status: 'problem',
          detail: expect.stringContaining('remount,rw'),
        })
      })
    },
  )
})

describe('a lease', () => {
  let folder = ''
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-doctor-'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  const told = async (lease: object | string, token = '0000000001') => {
    const file = join(folder, `.lease-${token}`)
    writeFileSync(file, typeof lease === 'string' ? lease : JSON.stringify(lease))
    utimesSync(file, new Date(), new Date())
    return finding(await directoryFindings(folder), 'lease')
  }

  it('is told by who has it, whether that one is there, and what to do', async () => {
    expect((await told({ pid: 1, hostname: 'there', released: true }))?.status).toBe('ok')
    const elsewhere = await told({ pid: 1, hostname: 'there', released: false })
    expect(elsewhere).toMatchObject({ status: 'note', detail: expect.stringContaining('another host') })
    const alive = await told({ pid: process.pid, hostname: hostname(), released: false })
    expect(alive?.detail).toContain('stop that job')
    const gone = await told({ pid: 2 ** 30, hostname: hostname(), released: false })
    expect(gone?.detail).toContain('no such process')
    expect(await told('{')).toMatchObject({
      status: 'problem',
      detail: expect.stringContaining('remove that file'),
    })
    // The newest one counts, by its number.
    expect((await told({ pid: 1, hostname: 'x', released: true }, '10000000000'))?.status).toBe('ok')
    expect((await told('{', '9999999999'))?.status).toBe('ok')
  })
})

describe('a machine', () => {
  it('with another Node.js is told which one to install', async () => {
    const statuses = async (version: string) =>
      (await machineFindings(version)).filter(({ what }) => what === 'Node.js' || what === 'zstd')
    expect(await statuses('18.1.0')).toMatchObject([
      { status: 'problem', detail: expect.stringContaining('20.19') },
      { status: 'note' },
    ])
    expect((await statuses('20.19.0')).map(({ status }) => status)).toEqual(['ok', 'note'])
    expect((await statuses('24.0.0')).map(({ status }) => status)).toEqual(['ok', 'ok'])
  })

  it('is not told that lz4 is there where its module does not load', async () => {
    const findings = await machineFindings('20.19.0', () => Promise.reject(new Error('no such package')))
    expect(findings.find(({ what }) => what === 'lz4')?.status).toBe('problem')
    expect(findings.find(({ what }) => what === 'zstd')?.detail).toContain('; gzip is there')
    const whole = await machineFindings('20.19.0', () => Promise.resolve())
    expect(whole.find(({ what }) => what === 'zstd')?.detail).toContain('; lz4 and gzip are there')
  })
})
