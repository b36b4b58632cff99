// The adapters in the programs that they are for.

import * as http from 'node:http'
import session from 'express-session'
import { MemoryStateBackend } from 'holdfast'
import { sessionStore } from 'holdfast/express-session'
import { unstorageDriver } from 'holdfast/unstorage'
import { createStorage, prefixStorage } from 'unstorage'
import { afterAll, describe, expect, it } from 'vitest'

const backend = new MemoryStateBackend()
afterAll(() => backend.close())

describe('unstorage', () => {
  it('does with it what it does with any driver', async () => {
    const storage = createStorage({ driver: unstorageDriver({ backend }) })
    await storage.setItem('s1:a', 'test_data')
    await storage.setItem('s2:a', { json: true })
    await storage.setItem('s3:a?q=1', 'params')
    expect(await storage.hasItem('s1:a')).toBe(true)
    expect(await storage.getItem('s2:a')).toEqual({ json: true })
    expect(await storage.getItem('s3:a?q=2')).toBe('params')
    expect(await storage.getKeys('s1:')).toEqual(['s1:a'])
    await storage.setItems([
      { key: 't1', value: 1 },
      { key: 't2', value: '' },
    ])
    expect(await storage.getItems(['t1', 't2'])).toMatchObject([{ value: 1 }, { value: '' }])
    await storage.setItemRaw('raw', new Uint8Array([1, 2, 3]))
    expect([...(await storage.getItemRaw('raw'))]).toEqual([1, 2, 3])
    await storage.setMeta('s1:a', { owner: 'me' })
    expect(await storage.getMeta('s1:a')).toMatchObject({ owner: 'me' })
    const prefixed = prefixStorage(storage, 's2')
    expect(await prefixed.getKeys()).toEqual(['a'])
    await storage.clear()
    expect(await storage.getKeys()).toEqual([])
    await storage.dispose()
  })
})

describe('express-session', () => {
  it('keeps a session over requests, regenerates and destroys it', async () => {
    const handle = session({
      secret: 'a secret of the test',
      resave: false,
      saveUninitialized: false,
      store: sessionStore(session, { backend }),
      cookie: { maxAge: 60_000 },
    })
    const server = http.createServer((request, response) => {
      handle(request, response, () => {
        const answer = () => response.end(String(request.session?.visits))
        if (request.url === '/end') request.session.destroy(answer)
        else if (request.url === '/new') request.session.regenerate(answer)
        else {
          // What the package's documentation gives a session that ends with the browser.
          if (request.url === '/browser') request.session.cookie.expires = false
          request.session.visits = (request.session.visits ?? 0) + 1
          answer()
        }
      })
    })
    await new Promise((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    let cookie = ''
    const ask = async (path) => {
      const { port } = server.address()
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { cookie } })
      cookie = response.headers.get('set-cookie')?.split(';')[0] ?? cookie
      return await response.text()
    }
    try {
      expect([await ask('/'), await ask('/'), await ask('/')]).toEqual(['1', '2', '3'])
      expect([await ask('/new'), await ask('/')]).toEqual(['undefined', '1'])
      expect([await ask('/browser'), await ask('/browser'), await ask('/')]).toEqual(['2', '3', '4'])
      expect([await ask('/end'), await ask('/')]).toEqual(['undefined', '1'])
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })
})
