// What is looked at, and taken, when a store is opened.

import { isStateError, StateError } from '../base/errors.js'
import { isErrorLike } from '../base/shapes.js'
import { type PartKeys, partKeys } from './layout.js'
import { damaged } from './part-writer.js'
import { CLAIM, UNMAKE } from './scripts.js'
import type { RedisSettings } from './settings.js'
import type { StoreServer } from './store-server.js'

/** What an owner learns of a part that it takes. */
export interface ClaimedPart {
  readonly token: string
  /** The store's time. */
  readonly clockMs: number
  readonly entries: number
  readonly nearestMs: number
}

/** Throws `INCOMPATIBLE` where the server, or what is on it, is not what the store is opened with. */
export async function assertFits(
  server: StoreServer,
  settings: RedisSettings,
  keys: PartKeys,
): Promise<void> {
  await assertKeepsAll(server, settings, keys)
  await assertNotElsewhere(server, settings)
  if (settings.fsync === 'waited') await assertWaitsForDisk(server, keys)
}

/** A server that throws state away to make room cannot hold it. */
async function assertKeepsAll(server: StoreServer, { shared }: RedisSettings, keys: PartKeys): Promise<void> {
  const memory = await server.memory(keys)
  // The numbers of a shared writer have a time to live, so `volatile-*` throws them away.
  const refused = shared
    ? /^maxmemory_policy:((?:allkeys|volatile)-\S+)/m
    : /^maxmemory_policy:(allkeys-\S+)/m
  const found = refused.exec(memory)?.[1]
  if (found === undefined) return
  const supported = shared ? 'noeviction' : 'noeviction, or one of volatile-*'
  throw new StateError('INCOMPATIBLE', { what: `${server.place}: maxmemory-policy`, found, supported })
}

/** With key groups, a store has other keys than without: what is there under the other ones must not be taken for nothing. */
async function assertNotElsewhere(server: StoreServer, settings: RedisSettings): Promise<void> {
  const { name, keyGroups } = settings
  const { meta } = partKeys(name, 0, keyGroups === 0 ? 1 : 0, '')
  const layout = await server.command('open', ['HGET', meta, 'layout'])
  if (layout !== null) throw otherLayout(server, settings, String(layout))
}

/**
 * Of two that open a store at once, with key groups and without, each may have looked before the other one took it: behind its claim one of them sees the other, or
 * both do. A store that was made by this claim is not left to be in the way of whoever comes next.
 */
export async function assertStillFits(
  server: StoreServer,
  settings: RedisSettings,
  { meta, writes, data }: PartKeys,
  opener: string,
): Promise<void> {
  try {
    await assertNotElsewhere(server, settings)
  } catch (error) {
    const isTaken = isStateError(error, 'INCOMPATIBLE')
    if (isTaken) await server.run('open', UNMAKE, [meta, writes, data], [`${opener} 1`])
    throw error
  }
}

/** A server without WAITAOF, or without a file to append to, says so before anything is written. */
async function assertWaitsForDisk(server: StoreServer, keys: PartKeys): Promise<void> {
  try {
    await server.together('open', [
      ['HLEN', keys.data],
      ['WAITAOF', '1', '0', '1'],
    ])
  } catch (error) {
    const cause = isStateError(error, 'STORAGE_ERROR') ? error.cause : undefined
    const found = isErrorLike(cause) ? cause.message : ''
    if (!/^ERR (unknown command|WAITAOF)/.test(found)) throw error
    throw new StateError('INCOMPATIBLE', {
      what: `${server.place}: fsync 'waited'`,
      found,
      supported: 'Redis 7.2 and later or Valkey, with appendonly',
    })
  }
}

export interface Claim {
  /** That of the first part; '': of the first part itself. */
  readonly token: string
  /** A random id of who opens the store. */
  readonly opener: string
  readonly nowMs: () => number
}

/** Takes a part for the one that opens the store: whoever had it is fenced from then on. */
export async function claimPart(
  server: StoreServer,
  settings: RedisSettings,
  keys: PartKeys,
  claim: Claim,
): Promise<ClaimedPart> {
  const { meta, writes, data, due } = keys
  const { token, opener, nowMs } = claim
  for (;;) {
    // An attempt that was given up goes on: it follows the owner that was read before all of them.
    const follows = token === '' ? await server.command('open', ['HGET', meta, 'owner']) : ''
    const args = [layoutOf(settings), token, String(nowMs()), String(follows ?? ''), opener]
    const answer = String(await server.run('open', CLAIM, [meta, writes, data, due], args))
    const [word, ...details] = answer.split(' ')
    if (word === 'LATE') continue
    if (word === 'DAMAGED') throw damaged(server.place, answer)
    if (word === 'INCOMPATIBLE') throw otherLayout(server, settings, details.join(' '))
    if (word === 'FENCED') throw fencedBy(server, details[0] ?? '')
    const [own = '', clock, entries, nearest] = details
    return { token: own, clockMs: Number(clock), entries: Number(entries), nearestMs: nearestOf(nearest) }
  }
}

/** When the next entry expires, as scripts answer it. */
export function nearestOf(answer: string | undefined): number {
  return answer === undefined || answer === '' ? Infinity : Number(answer)
}

function fencedBy(server: StoreServer, token: string): StateError<'FENCED'> {
  const owner = token === 'shared' ? 'several that share it' : `the owner with token ${token}`
  return new StateError('FENCED', { resource: server.place, owner })
}

function layoutOf({ keyGroups, ordered }: RedisSettings): string {
  return `1 ${ordered ? 'ordered' : 'unordered'} ${keyGroups}`
}

function otherLayout(
  server: StoreServer,
  settings: RedisSettings,
  found: string,
): StateError<'INCOMPATIBLE'> {
  return new StateError('INCOMPATIBLE', {
    what: `${server.place}: layout, order and key groups`,
    found,
    supported: `what it is opened with: ${layoutOf(settings)}`,
  })
}
