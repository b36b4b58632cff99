import { describe, expect, it } from 'vitest'
import { SerialQueue } from './serial-queue.js'

describe('the queue of a coordinator', () => {
  it('begins at once when idle, and otherwise keeps the order', async () => {
    const queue = new SerialQueue()
    const steps: string[] = []
    const task = (name: string) => async () => {
      steps.push(`${name} begins`)
      await new Promise((resolve) => setImmediate(resolve))
      steps.push(`${name} ends`)
      if (name === 'b') throw new Error('b fails')
    }
    const a = queue.run(task('a'), undefined, 'test')
    expect(steps).toEqual(['a begins'])
    const b = queue.run(task('b'), undefined, 'test')
    const c = queue.run(task('c'), undefined, 'test')
    await expect(b).rejects.toThrow('b fails')
    await Promise.all([a, c])
    expect(steps).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  })

  it('lets a waiting task give up, and the others go on', async () => {
    const queue = new SerialQueue()
    const controller = new AbortController()
    const running = queue.run(() => new Promise<void>((resolve) => setImmediate(resolve)), undefined, 'test')
    let began = false
    const waiting = queue.run(
      async () => {
        began = true
      },
      controller.signal,
      'test',
    )
    const after = queue.run(async () => 'done', undefined, 'test')
    controller.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'ABORTED' })
    await running
    expect(await after).toBe('done')
    expect(began).toBe(false)
  })
})
