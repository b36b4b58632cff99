import { expect, it } from 'vitest'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { storedOutputs } from './stored-outputs.js'

it('J3: keys of outputs follow their numbers, also beyond 32 bits', async () => {
  await using backend = new MemoryStateBackend()
  const outputs = storedOutputs(backend)
  const numbers = [0, 255, 256, 0x80_00_00_01, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 7, Number.MAX_SAFE_INTEGER]
  for (const number of numbers) outputs.put(number, { number })
  const keys = Array.from(backend.scanSync({}), ([key]) => Buffer.from(key))
  expect(keys).toEqual(
    numbers.map((number) => {
      const key = Buffer.concat([Buffer.of(0xff, 0xff), Buffer.from('sink'), Buffer.alloc(8)])
      key.writeBigUInt64BE(BigInt(number), 6)
      return key
    }),
  )
  // As a range, and up to all that there is.
  outputs.removeFrom(2 ** 32, Infinity)
  expect(Array.from(outputs.read(0, Infinity) as Iterable<[number, unknown]>, ([number]) => number)).toEqual(
    numbers.slice(0, 5),
  )
})
