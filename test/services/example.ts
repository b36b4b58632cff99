import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { RunningService } from '../../scripts/services/services.mjs'

const main = join(import.meta.dirname, '../../build/examples/token-usage/main.js')

interface ExampleRun {
  readonly status: number | null
  readonly output: string
  readonly errors: string
}

function run(...args: readonly string[]): Promise<ExampleRun> {
  const env = { ...process.env, AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'testsecret' }
  const child = spawn(process.execPath, [main, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const texts = { output: '', errors: '' }
  child.stdout.on('data', (text) => void (texts.output += text))
  child.stderr.on('data', (text) => void (texts.errors += text))
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, ...texts })))
}

/** What `npm start -- --source NAME` does, on a real server. */
export function exampleRuns(name: 'kafka' | 'nats' | 'redis', service: () => RunningService): void {
  describe(`npm start -- --source ${name}`, () => {
    it('reads requests from the server, is killed, and puts out what it would have put out from the generator', async () => {
      const common = ['--json', '--events', '20000', '--pace', '1', '--seed-kill', '7']
      const direct = await run(...common)
      const found = await run(...common, '--source', name, '--address', service().address)
      expect(found).toMatchObject({ status: 0, errors: '' })
      const [expected, result] = [direct, found].map(({ output }) => JSON.parse(output))
      expect(result).toMatchObject({ equal: true, events: 20_000, kills: [{ restored: {} }] })
      expect(result.killed.digest).toBe(expected.uninterrupted.digest)
    })

    it('says in one line where nothing answers, without the password', async () => {
      const address = `${name}://me:geheim@127.0.0.1:1`
      const { status, errors } = await run('--json', '--source', name, '--address', address)
      expect(status).toBe(2)
      expect(errors).toBe(
        `error: no ${name} at 127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1; name a server that runs with --address\n`,
      )
    })
  })
}

/** What `npm start` does with flags that put its state or its checkpoints on a server: those of a real one, and of one that is not there. */
export function exampleKeeps(
  flagsFor: (address: string) => readonly string[],
  service: () => RunningService,
): void {
  describe(`npm start -- ${flagsFor('ADDRESS').join(' ')}`, () => {
    it('is killed, goes on from what the server has, and puts out what it would have put out by itself', async () => {
      const common = ['--json', '--events', '10000', '--pace', '1', '--seed-kill', '7']
      const direct = await run(...common)
      const found = await run(...common, ...flagsFor(service().address))
      expect(found).toMatchObject({ status: 0, errors: '' })
      const [expected, result] = [direct, found].map(({ output }) => JSON.parse(output))
      expect(result).toMatchObject({
        equal: true,
        events: 10_000,
        kills: [{ restored: {} }],
      })
      expect(result.killed.digest).toBe(expected.uninterrupted.digest)
      expect(result.killed.saves.created).toBeGreaterThan(0)
    })

    it('says in one line where nothing answers, without the password, and ends with 1', async () => {
      const { protocol } = new URL(service().address)
      const address = protocol === 'http:' ? 'http://127.0.0.1:1' : `${protocol}//me:geheim@127.0.0.1:1`
      const { status, errors } = await run('--json', ...flagsFor(address))
      expect(errors).toMatch(
        /^error: no \w+ at 127\.0\.0\.1:1: connect ECONNREFUSED 127\.0\.0\.1:1; name a server that runs with --[\w-]+\n$/,
      )
      expect(status).toBe(1)
    })
  })
}
