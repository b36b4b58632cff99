import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { root } from './source-file.js'

interface Probes {
  answersPing(port: number): Promise<boolean>
}

it.each([
  ['answers', '+PONG\r\n', true],
  ['answers that it loads', '-LOADING Redis is loading the dataset in memory\r\n', false],
  ['ends the connection without an answer', '', false],
])('whether a Redis is ready is known where it %s', async (_name, answer, isReady) => {
  const { answersPing } = (await import(join(root, 'scripts/services/service.mjs'))) as Probes
  const server = createServer((socket) => socket.end(answer))
  onTestFinished(() => void server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  expect(await answersPing((server.address() as AddressInfo).port)).toBe(isReady)
})
