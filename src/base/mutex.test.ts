import { describe, expect, it } from 'vitest'
import { Mutex } from './mutex.js'

describe('a mutex', () => {
  it('begins at once when idle, and otherwise keeps the order', async () => {
    const mutex = new Mutex()
    const steps: string[] = []
    const task = (name: string) => async () => {
      steps.push(`${name} begins`)
      await new Promise((resolve) => setImmediate(resolve))
      steps.push(`${name} ends`)
      if (name === 'b') throw new Error('b fails')
    }
    const a = mutex.run(task('a'), undefined, 'test')
    expect(steps).toEqual(['a begins'])
    const b = mutex.run(task('b'), undefined, 'test')
    const c = mutex.run(task('c'), undefined, 'test')
    await expect(b).rejects.toThrow('b fails')
    await Promise.all([a, c])
    expect(steps).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  })

  it('lets a waiting task give up, and the others go on', async () => {
    const mutex = new Mutex()
    const controller = new AbortController()
    const running = mutex.run(() => new Promise<void>((resolve) => setImmediate(resolve)), undefined, 'test')
    let began = false
    const waiting = mutex.run(
      async () => {
        began = true
      },
      controller.signal,
      'test',
    )
    const after = mutex.run(async () => 'done', undefined, 'test')
    controller.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'ABORTED' })
    await running
    expect(await after).toBe('done')
    expect(began).toBe(false)
  })

  it('is held from the lock until what it gave is called, which counts once', async () => {
    const mutex = new Mutex()
    const steps: string[] = []
    const unlock = await mutex.lock()
    const running = mutex.run(async () => void steps.push('task'))
    const locked = mutex.lock().then((next) => {
      steps.push('locked')
      return next
    })
    await new Promise((resolve) => setImmediate(resolve))
    expect(steps).toEqual([])
    unlock()
    await running
    const next = await locked
    unlock()
    const last = mutex.run(async () => void steps.push('last'))
    await new Promise((resolve) => setImmediate(resolve))
    expect(steps).toEqual(['task', 'locked'])
    next()
    await last
    expect(steps).toEqual(['task', 'locked', 'last'])
  })
})
