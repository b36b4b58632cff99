// All outside systems that there are tests for. A new one: a module beside this one, a line here, and tests in test/services/NAME*.test.ts.

import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { azurite } from './azurite.mjs'
import { chromium } from './chromium.mjs'
import { kafka } from './kafka.mjs'
import { moto } from './moto.mjs'
import { nats } from './nats.mjs'
import { pgbouncer, preparePgbouncer } from './pgbouncer.mjs'
import { postgres, postgresStandby } from './postgres.mjs'
import { redis } from './redis.mjs'
import { s3mock } from './s3mock.mjs'
import { s3sFs } from './s3s-fs.mjs'
import { freePort, selfSigned } from './service.mjs'
import { valkey, valkeyNode, valkeySentinel } from './valkey.mjs'
import { versitygw } from './versitygw.mjs'

const services = [redis, valkey, postgres, nats, kafka, versitygw, azurite, moto, s3mock, s3sFs, chromium]

export const serviceNames = services.map(({ name }) => name)

function serviceNamed(name) {
  const service = services.find((each) => each.name === name)
  if (service === undefined)
    throw new Error(`there is no service ${name}; there are ${serviceNames.join(', ')}`)
  return service
}

/** Finds or installs what the system needs. Throws `Unavailable` with the reason where it cannot be had. */
export async function prepareService(name) {
  await serviceNamed(name).prepare()
}

/**
 * Starts a server with a folder and a port of its own. `stop` ends it and removes the folder; `kill` and `start` keep what it has. With `secure`, a
 * password, it speaks TLS only, by a certificate that it has signed itself (`certificate`), and asks for the password.
 */
export async function startService(name, { secure } = {}) {
  await prepareService(name)
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), `holdfast-${name}-`))
  try {
    const files = secure === undefined ? undefined : { ...selfSigned(folder), password: secure }
    const server = await serviceNamed(name).create({ port: await freePort(), folder, secure: files })
    await server.start()
    return {
      name,
      address: server.address,
      port: server.port,
      certificate: files === undefined ? undefined : fs.readFileSync(files.certificate, 'utf8'),
      pid: () => server.pid,
      kill: () => server.kill(),
      end: () => server.stop(),
      start: () => server.start(),
      stop: async () => {
        await server.stop()
        fs.rmSync(folder, { recursive: true, force: true })
      },
    }
  } catch (error) {
    fs.rmSync(folder, { recursive: true, force: true })
    throw error
  }
}

/** Why there is no pooler here; `undefined` where there is one. */
export function lacksPooler() {
  try {
    preparePgbouncer()
    return undefined
  } catch (error) {
    return error.message
  }
}

/** A pooler of transactions in front of a PostgreSQL. */
export async function startPooler(serverPort) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-pgbouncer-'))
  const server = pgbouncer(await freePort(), folder, serverPort)
  await server.start()
  return {
    address: server.address,
    stop: async () => {
      await server.stop()
      fs.rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** A server that repeats what another one of PostgreSQL does. */
export async function startPostgresStandby(primaryPort) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-standby-'))
  try {
    const server = postgresStandby(await freePort(), folder, primaryPort)
    const standby = await started(server)
    return {
      ...standby,
      stop: async () => {
        await server.stop()
        fs.rmSync(folder, { recursive: true, force: true })
      },
    }
  } catch (error) {
    fs.rmSync(folder, { recursive: true, force: true })
    throw error
  }
}

/** One of several servers that know each other, in a folder of the caller's. */
export async function startValkeyNode(folder, args) {
  await prepareService('valkey')
  return await started(valkeyNode(await freePort(), folder, args))
}

export async function startValkeySentinel(folder, settings) {
  await prepareService('valkey')
  return await started(valkeySentinel(await freePort(), folder, settings))
}

async function started(server) {
  await server.start()
  return {
    port: server.port,
    pid: () => server.pid,
    kill: () => server.kill(),
    start: () => server.start(),
  }
}
