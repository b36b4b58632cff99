import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { cacheFolder, findProgram, install, installDebianPackage, Server, Unavailable } from './service.mjs'

const VERSION = '4.11.0'
/** It takes five seconds on a machine that has nothing else to do, and a minute where that is busy. */
const START_LIMIT_MS = 180_000

/** The server as one file, from Maven Central. */
function jar() {
  const folder = cacheFolder(`s3mock-${VERSION}`)
  const file = path.join(folder, `s3mock-${VERSION}-exec.jar`)
  if (fs.existsSync(file)) return file
  if (findProgram('mvn') === undefined) installDebianPackage('maven')
  const artifact = `-Dartifact=com.adobe.testing:s3mock:${VERSION}:jar:exec`
  const begun = path.join(folder, `begun-${process.pid}`)
  install('mvn', ['-q', '-B', 'dependency:copy', artifact, `-DoutputDirectory=${begun}`], folder)
  fs.renameSync(path.join(begun, path.basename(file)), file)
  fs.rmSync(begun, { recursive: true })
  return file
}

/** It listens on every address of its network, so it gets one of its own. */
function requireNetworks() {
  const { status, error, stderr } = spawnSync('unshare', ['-n', 'ip', 'link', 'set', 'lo', 'up'], {
    encoding: 'utf8',
  })
  if (status !== 0)
    throw new Unavailable(`there are no network namespaces: ${error?.message ?? stderr.trim()}`)
}

/** S3Mock of Adobe, with a bucket `bucket`. It compares and then writes in two steps: a store that must be refused. */
export const s3mock = {
  name: 's3mock',
  prepare() {
    if (findProgram('java') === undefined) installDebianPackage('openjdk-17-jre-headless')
    requireNetworks()
    jar()
  },
  async create({ port, folder }) {
    const behindSocket = fileURLToPath(new URL('./own-network.mjs', import.meta.url))
    const java = [findProgram('java'), '-Xmx256m', '-XX:TieredStopAtLevel=1', '-jar', jar()]
    const address = `http://127.0.0.1:${port}`
    return new Server({
      name: 's3mock',
      command: process.execPath,
      args: [behindSocket, String(port), '9090', path.join(folder, 'socket'), ...java],
      env: {
        COM_ADOBE_TESTING_S3MOCK_STORE_INITIAL_BUCKETS: 'bucket',
        COM_ADOBE_TESTING_S3MOCK_STORE_ROOT: path.join(folder, 'data'),
      },
      port,
      folder,
      address,
      startLimitMs: START_LIMIT_MS,
      isReady: async () => (await fetch(address).catch(() => undefined))?.ok === true,
    })
  },
}
