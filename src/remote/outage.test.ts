import { getEventListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import { ManualClock } from '../testing/manual-clock.js'
import { Outage } from './outage.js'
import { withoutSecrets } from './secrets.js'

function outageOf(settings: Partial<ConstructorParameters<typeof Outage>[0]> = {}) {
  const clock = new ManualClock(0)
  const pauses: number[] = []
  const pause = async (ms: number) => {
    pauses.push(ms)
    clock.advance(ms)
  }
  const outage = new Outage({ storage: 'a server', passes: () => true, clock, pause, ...settings })
  return { outage, pauses }
}

describe('calls while a server is away', () => {
  it('are made again after pauses that grow up to two seconds, and begin anew after an answer', async () => {
    const { outage, pauses } = outageOf()
    let failures = 9
    const call = async () => {
      if (failures-- > 0) throw new Error('connection refused')
      return 'answer'
    }
    expect(await outage.untilAnswered('read', call)).toBe('answer')
    expect(pauses).toEqual([20, 40, 80, 160, 320, 640, 1_280, 2_000, 2_000])
    failures = 1
    await outage.untilAnswered('read', call)
    expect(pauses.at(-1)).toBe(20)
  })

  it('leave nothing with signals that live for longer, however often they are made', async () => {
    const [owner, caller] = [new Set<AbortSignal>(), new AbortController().signal]
    const { outage } = outageOf({
      pause: async (_ms, ...signals) => {
        for (const signal of signals) if (signal !== caller) owner.add(signal)
      },
    })
    let failures = 50
    const call = async () => {
      if (failures-- > 0) throw new Error('connection refused')
      return 'answer'
    }
    await outage.untilAnswered('read', call, caller)
    // Of each signal that is made of these two something stays with them, on Node 20 to 24: it is they that are listened to.
    expect(owner.size).toBe(1)
    expect([caller, ...owner].map((signal) => getEventListeners(signal, 'abort'))).toEqual([[], []])
  })

  it('fail with STORAGE_ERROR once it was away for too long', async () => {
    const { outage } = outageOf({ reconnectForMs: 500 })
    const call = () => Promise.reject(new Error('connection refused'))
    await expect(outage.untilAnswered('read', call)).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      details: { storage: 'a server', operation: 'read', reason: 'connection refused (for 500 ms)' },
    })
  })

  it('fail at once where that does not pass', async () => {
    const { outage, pauses } = outageOf({ passes: () => false })
    await expect(
      outage.untilAnswered('read', () => Promise.reject(new Error('no such command'))),
    ).rejects.toMatchObject({ code: 'STORAGE_ERROR', details: { reason: 'no such command' } })
    expect(pauses).toEqual([])
  })

  it('that are not answered count as failed', async () => {
    const { outage } = outageOf({ answerWithinMs: 1 })
    let calls = 0
    const call = () => (calls++ === 0 ? new Promise<string>(() => {}) : Promise.resolve('answer'))
    expect(await outage.untilAnswered('read', call)).toBe('answer')
  })

  it('leave nothing open that comes too late, also after the end', async () => {
    const { outage } = outageOf({ answerWithinMs: 1 })
    const answers: ((answer: string) => void)[] = []
    const discarded: string[] = []
    const call = () =>
      answers.length === 1
        ? Promise.resolve('in time')
        : new Promise<string>((resolve) => {
            answers.push(resolve)
          })
    const discard = (late: string) => discarded.push(late)
    expect(await outage.answerOf('open', call, undefined, discard)).toBe('in time')
    answers[0]?.('late')
    answers.length = 0
    const waiting = outage.untilAnswered('open', call, undefined, discard)
    outage.close()
    await waiting
    answers[0]?.('after the end')
    await new Promise(setImmediate)
    expect(discarded).toEqual(['late', 'after the end'])
  })

  it('end when the caller or the owner does not want them any more', async () => {
    const { outage } = outageOf()
    const aborting = new AbortController()
    const never = () => new Promise<string>(() => {})
    const waiting = outage.untilAnswered('read', never, aborting.signal)
    aborting.abort()
    expect(await waiting).toBeUndefined()
    const answer = outage.answerOf('claim', never)
    outage.close()
    await expect(answer).rejects.toMatchObject({ code: 'ABORTED', details: { operation: 'claim' } })
  })
})

describe('what an error of a client is shown as', () => {
  it('has no address with a password, and nothing that the client has put in', () => {
    const error = Object.assign(new Error('cannot reach redis://me:secret@host:6379/0'), {
      code: 'ECONNREFUSED',
      command: { name: 'auth', args: ['secret'] },
    })
    const shown = withoutSecrets(error)
    expect(shown.message).toBe('cannot reach redis://***@host:6379/0')
    expect(JSON.stringify([shown, { ...shown }, shown.stack])).not.toContain('secret')
    expect(shown).toMatchObject({ code: 'ECONNREFUSED' })
  })

  it('is made of a text of any kind in a time that grows as the text does', () => {
    const { message } = withoutSecrets(new Error(`${'secret'.repeat(100_000)} password=mine`))
    expect(message.endsWith('secret password=***')).toBe(true)
  })

  it('says what was behind several attempts', () => {
    const error = Object.assign(new AggregateError([new Error('connect ECONNREFUSED')], ''), { code: 'X' })
    expect(withoutSecrets(error).message).toBe('connect ECONNREFUSED')
    const refused = new AggregateError([new Error('too large for redis://me:secret@host')], 'no answer but')
    const failed = new AggregateError([refused, new Error('another')], 'Producing messages failed.')
    expect(withoutSecrets(failed).message).toBe(
      'Producing messages failed: no answer but: too large for redis://***@host',
    )
    const endless: { message: string; errors: unknown[] } = Object.assign(new Error('round'), { errors: [] })
    endless.errors.push(Object.assign(new Error('about'), { errors: [endless] }))
    expect(withoutSecrets(endless).message).toMatch(/^round: about: round/)
    expect(withoutSecrets('text').message).toBe('what was thrown is no error')
  })
})
