import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'

/** That a server keeps what it has acknowledged, whatever becomes of its process: what the tests of its adapters rest on. */
export function itSurvivesKills(
  name: string,
  write: (address: string, value: string) => Promise<void>,
  read: (address: string) => Promise<readonly string[]>,
): void {
  describe(`the server of ${name}`, () => {
    let service: RunningService
    beforeAll(async () => {
      service = await startService(name)
    })
    afterAll(() => service.stop())

    it('keeps what it has acknowledged when it is killed', async () => {
      for (const value of ['a', 'b']) {
        await write(service.address, value)
        const before = service.pid()
        await service.kill()
        await service.start()
        expect(service.pid()).not.toBe(before)
      }
      expect(await read(service.address)).toEqual(['a', 'b'])
    })
  })
}
