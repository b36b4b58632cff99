import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { FileCheckpointStorage } from '../../src/storage/file-checkpoint-storage.js'
import { runs } from '../support/long.js'
import { type CompiledSources, compileSources } from './compile-sources.js'

const ROUNDS = runs(150, 30)
const KILLS = runs(12, 4)

describe('two processes that race for the lease', () => {
  let sources: CompiledSources
  let directory: string
  let rivals: ChildProcess[]

  beforeAll(async () => {
    sources = await compileSources()
  })

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-race-'))
    rivals = await Promise.all([startRival(), startRival()])
  })
  afterEach(async () => {
    await Promise.all(rivals.map(kill))
    await rm(directory, { recursive: true })
  })

  async function startRival(): Promise<ChildProcess> {
    const rival = fork(sources.pathOf('test/faults/children/lease-rival.ts'), [directory])
    await once(rival, 'message')
    return rival
  }

  async function kill(rival: ChildProcess): Promise<void> {
    if (rival.exitCode !== null || rival.signalCode !== null) return
    const exited = once(rival, 'exit')
    rival.kill('SIGKILL')
    await exited
  }

  async function ask(rival: ChildProcess, command: 'acquire' | 'release'): Promise<string> {
    const answer = once(rival, 'message')
    rival.send(command)
    return String((await answer)[0])
  }

  /** Lets both acquire at once. Returns the token and the index of the one that won. */
  async function race(): Promise<{ readonly token: number; readonly winner: number }> {
    const answers = await Promise.all(rivals.map((rival) => ask(rival, 'acquire')))
    const winner = answers.findIndex((answer) => answer.startsWith('won '))
    const token = Number(answers[winner]?.slice('won '.length))
    expect([...answers].sort(), 'one winner, one FENCED').toEqual(['FENCED', `won ${token}`])
    return { token, winner }
  }

  it('has exactly one winner in every round, with a growing token', async () => {
    let last = 0
    let rounds = 0
    for (; rounds < ROUNDS; rounds++) {
      const { token, winner } = await race()
      expect(token).toBeGreaterThan(last)
      last = token
      await expect(new FileCheckpointStorage(directory).acquire()).rejects.toMatchObject({
        code: 'FENCED',
        message: expect.stringContaining(`process ${rivals[winner]?.pid} `),
      })
      expect(await ask(rivals[winner] as ChildProcess, 'release')).toBe('released')
    }
    expect(rounds).toBe(ROUNDS)
    expect(last).toBe(ROUNDS)
    expect(await readdir(directory)).toHaveLength(1)
  })

  it('takes over from a winner that is killed, at once', async () => {
    let kills = 0
    let last = 0
    for (; kills < KILLS; kills++) {
      const { token, winner } = await race()
      expect(token).toBeGreaterThan(last)
      last = token
      await kill(rivals[winner] as ChildProcess)
      rivals[winner] = await startRival()
    }
    expect(kills).toBe(KILLS)
    await Promise.all(rivals.map(kill))
    const heir = await new FileCheckpointStorage(directory).acquire()
    expect(heir.token).toBe(last + 1)
    await heir.release()
  })
})
