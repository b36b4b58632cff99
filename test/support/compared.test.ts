import { expect, it } from 'vitest'
import { compared } from './compared.js'

it('counts what is lost and doubled by what outputs say, in whatever order a database keeps their names', () => {
  const expected = [{ id: 1, of: { a: [1, 2], b: null } }, { id: 2 }, { id: 2 }]
  const same = [{ id: 2 }, { of: { b: null, a: [1, 2] }, id: 1 }, { id: 2 }]
  expect(compared(same, expected)).toEqual({ lost: 0, doubled: 0 })
  expect(compared([{ of: { b: null, a: [2, 1] }, id: 1 }, { id: 2 }], expected)).toEqual({
    lost: 2,
    doubled: 1,
  })
  expect(compared([...same, { id: 2 }], expected)).toEqual({ lost: 0, doubled: 1 })
})
