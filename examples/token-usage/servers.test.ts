import { expect, it } from 'vitest'
import { InputError } from './input-error.js'
import { openStream, serverNames } from './servers.js'

it.each(serverNames)(
  'says in one line that an address of %s is none, without what it has of a password',
  async (server) => {
    for (const address of [
      `${server}://user:secret@host:99999`,
      'user:secret@host:99999',
      'http://[secret',
      '',
    ]) {
      const refused = await openStream({ server, address, stream: 's' }).catch((error: unknown) => error)
      expect(refused).toBeInstanceOf(InputError)
      expect((refused as Error).message).toMatch(/^--address must be .*$/)
      expect(JSON.stringify(refused, Object.getOwnPropertyNames(refused))).not.toContain('secret')
    }
  },
)
