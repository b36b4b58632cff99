import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { areValid, rules, violationsOf } from './options.js'

const schema = { ttlMs: rules.positiveMs, prefix: rules.bytes }
const namesOf = (options: unknown) => violationsOf(options, schema).map(({ argument }) => argument)

describe('violationsOf', () => {
  it('takes plain objects of any realm, empty ones too, and names what is wrong or unknown in them', () => {
    for (const options of [undefined, {}, Object.create(null), { ttlMs: 5 }, { ttlMs: undefined }]) {
      expect(namesOf(options)).toEqual([])
    }
    expect(namesOf(runInNewContext('({ ttlMs: 5 })'))).toEqual([])
    expect(namesOf({ ttlMs: -5, size: 1 })).toEqual(['options.ttlMs', 'options.size'])
  })

  it('checks settings that a class or a prototype gives: they are read like any other', () => {
    class Life {
      get ttlMs(): number {
        return -5
      }
    }
    expect(namesOf(new Life())).toEqual(['options.ttlMs'])
    expect(namesOf(Object.create({ prefix: 'user:' }))).toEqual(['options.prefix'])
    expect(namesOf(Object.create({ ttlMs: 5 }))).toEqual([])
  })

  it('takes no object for settings that has none: a promise of a range would delete everything', () => {
    const others = [[], new Map(), new Set(), Promise.resolve({ ttlMs: 5 }), new Date(), new Uint8Array(0)]
    for (const other of others) expect(namesOf(other)).toEqual(['options'])
    expect(namesOf(runInNewContext('Promise.resolve({})'))).toEqual(['options'])
  })
})

describe('areValid', () => {
  const durable = { durable: rules.boolean }
  class Durably {
    get durable(): unknown {
      return true
    }
  }
  class Hardly {
    get durable(): unknown {
      return 'yes'
    }
  }

  it('is true of settings that are right, whoever gives them', () => {
    const right = [
      { ttlMs: 5 },
      { durable: true },
      { durable: false, ttlMs: 5 },
      { ttlMs: 1, durable: undefined },
    ]
    for (const options of [...right, Object.create({ ttlMs: 5 }), new Durably()]) {
      expect(areValid(options, schema, durable)).toBe(true)
      expect(violationsOf(options, { ...schema, ...durable })).toEqual([])
    }
  })

  it('is false of everything that violationsOf finds fault with', () => {
    const wrong = [
      5,
      null,
      'durable',
      [],
      new Map(),
      { ttlMs: 0 },
      { durable: 1 },
      { ttlMs: 5, durable: 'yes' },
    ]
    const unknown = [{ ttl: 5 }, { durable: true, toString: 1 }, Object.create({ size: 1 }), new Hardly()]
    for (const options of [...wrong, ...unknown]) {
      expect(areValid(options, schema, durable)).toBe(false)
    }
    expect(areValid({ durable: true }, schema)).toBe(false)
  })
})
