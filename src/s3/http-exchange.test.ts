import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { exchange } from './http-exchange.js'

it('an answer that something is unchanged may tell how long that is, and has no body', async () => {
  const server = createServer((_, response) => {
    response.writeHead(304, { etag: '"tag"', 'content-length': '100000' }).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/root`)
  const request = { method: 'GET', url, headers: {}, body: undefined, signal: undefined }
  const { status, bytes } = await exchange({ ...request, maxBytes: () => 65_536 })
  expect([status, bytes.length]).toEqual([304, 0])
})
