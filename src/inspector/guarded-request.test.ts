import { expect, it } from 'vitest'
import { Refusal, requestedPath } from './guarded-request.js'

const asked = (url: string, host: string, port: number) =>
  requestedPath({ method: 'GET', headers: { host }, url }, port, 'secret')

it('takes a path as it is written, also one that is no part of an address', () => {
  expect(asked('/secret///a:b?x=1?&y=%5B', '127.0.0.1:4711', 4711)).toEqual({
    pathname: '//a:b',
    searchParams: new URLSearchParams({ x: '1?', y: '[' }),
  })
  expect(asked('/secret//[', '127.0.0.1:4711', 4711)).toMatchObject({ pathname: '/[' })
})

it('knows its host without a port where that is 80: so browsers send it', () => {
  expect(asked('/secret/page.js', '127.0.0.1', 80)).toMatchObject({ pathname: 'page.js' })
  expect(asked('/secret/page.js', 'localhost:80', 80)).toMatchObject({ pathname: 'page.js' })
  expect(asked('/secret/page.js', '127.0.0.1', 4711)).toBeInstanceOf(Refusal)
  expect(asked('/secret/page.js', 'attacker.example', 80)).toBeInstanceOf(Refusal)
})
