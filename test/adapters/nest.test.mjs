// Nest's cache module on the store for Keyv.

import { CACHE_MANAGER, CacheModule } from '@nestjs/cache-manager'
import { Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { KeyvStore } from 'holdfast/keyv'
import { LmdbStateBackend } from 'holdfast/lmdb'
import { Keyv } from 'keyv'
import { describe, expect, it } from 'vitest'

/** A service as an application has one: what it needs is told by metadata, as decorators do. */
class Prices {
  static asked = 0
  #cache

  constructor(cache) {
    this.#cache = cache
  }

  async of(item) {
    return await this.#cache.wrap(`price:${item}`, async () => `${item} ${++Prices.asked}`)
  }
}

/** An application whose cache lies in this backend. */
async function started(backend, ttl = 60_000) {
  class AppModule {
    async onApplicationShutdown() {
      await backend.flush()
    }
  }
  Module({
    imports: [
      CacheModule.registerAsync({
        useFactory: () => ({
          ttl,
          stores: [new Keyv({ store: new KeyvStore({ backend }), namespace: 'prices' })],
        }),
      }),
    ],
    providers: [{ provide: Prices, useFactory: (cache) => new Prices(cache), inject: [CACHE_MANAGER] }],
  })(AppModule)
  const app = await NestFactory.createApplicationContext(AppModule, { logger: false })
  return { app, prices: app.get(Prices), cache: app.get(CACHE_MANAGER) }
}

describe("Nest's cache module", () => {
  it('keeps what it is given over a restart of the application, and removes it at the end of its life', async () => {
    const backend = await LmdbStateBackend.temporary()
    const first = await started(backend)
    expect(await first.prices.of('apple')).toBe('apple 1')
    expect(await first.prices.of('apple')).toBe('apple 1')
    await first.cache.set('gone', { soon: true }, 40)
    expect(await first.cache.get('gone')).toEqual({ soon: true })
    await first.app.close()

    const second = await started(backend)
    expect(await second.prices.of('apple')).toBe('apple 1')
    expect(await second.cache.mget(['price:apple', 'price:none'])).toEqual(['apple 1', undefined])
    await expect.poll(() => backend.count()).toBe(1)
    expect(await second.cache.get('gone')).toBeUndefined()
    await second.cache.del('price:apple')
    expect(await second.prices.of('apple')).toBe('apple 2')
    await second.cache.clear()
    expect(await backend.count()).toBe(0)
    await second.app.close()
    await backend.close()
  })
})
