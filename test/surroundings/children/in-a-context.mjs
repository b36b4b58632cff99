// Loads the compiled library into a vm context, as jest does with what it tests: its globals, `Error` and `Uint8Array` among
// them, are not those of Node's own modules. Then it does with it what a job does, and prints what it found.
//
//   node --experimental-vm-modules in-a-context.mjs DIST DIRECTORY

import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire, isBuiltin } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import vm from 'node:vm'

const [dist, directory] = process.argv.slice(2)
const inside = [
  'AbortController',
  'AbortSignal',
  'Buffer',
  'DOMException',
  'TextDecoder',
  'TextEncoder',
  'URL',
  'performance',
  'process',
  'queueMicrotask',
  'setImmediate',
  'setTimeout',
  'clearTimeout',
  'structuredClone',
]
const context = vm.createContext(Object.fromEntries(inside.map((name) => [name, globalThis[name]])))
const modules = new Map()

/** Makes a module of the context; those that it imports are made when it is linked. */
async function moduleOf(specifier, referrer) {
  if (!specifier.startsWith('.') && !specifier.startsWith('/')) return builtin(specifier)
  const path = specifier.startsWith('/') ? specifier : resolve(dirname(fileURLToPath(referrer)), specifier)
  const known = modules.get(path)
  if (known !== undefined) return known
  const identifier = pathToFileURL(path).href
  const module = new vm.SourceTextModule(readFileSync(path, 'utf8'), {
    context,
    identifier,
    initializeImportMeta: (meta) => {
      meta.url = identifier
    },
  })
  modules.set(path, module)
  return module
}

async function builtin(specifier) {
  if (!isBuiltin(specifier)) throw new Error(`${specifier} is loaded with the library`)
  const exported = await import(specifier)
  const names = Object.keys(exported)
  return new vm.SyntheticModule(
    names,
    function setAll() {
      for (const name of names) this.setExport(name, exported[name])
    },
    { context },
  )
}

async function load(file) {
  const module = await moduleOf(join(dist, file))
  await module.link((specifier, { identifier }) => moduleOf(specifier, identifier))
  await module.evaluate()
  return module.namespace
}

const inner = (code) => vm.runInContext(code, context)
const bytes = (text) => Buffer.from(text)
const { CheckpointCoordinator, FileCheckpointStorage, isStateError, MemoryStateBackend, StateError } =
  await load('index.js')
const { LmdbStateBackend } = await load('lmdb.js')
const own = createRequire(join(dist, 'index.js'))
const copy = await import(own.resolve('./index.js'))

const found = {
  foreign:
    !(new StateError('CLOSED', { component: 'x' }) instanceof Error) && inner('Uint8Array') !== Uint8Array,
}
mkdirSync(join(directory, 'checkpoints'))
for (const [name, backend] of [
  ['memory', new MemoryStateBackend()],
  ['lmdb', await LmdbStateBackend.open({ path: join(directory, 'store') })],
]) {
  backend.putSync(bytes('outer'), bytes('1'))
  backend.putSync(inner('new Uint8Array([105])'), inner('new Uint8Array([50])'))
  backend.writeSync(new copy.WriteBatch().put(bytes('batch'), bytes('3')))
  const { signal } = new AbortController()
  const storage = new FileCheckpointStorage(join(directory, 'checkpoints'))
  const source = () => ({ offset: 1, list: [{ a: null }] })
  const coordinator = new CheckpointCoordinator(backend, { storage, source })
  const made = await coordinator.createCheckpoint({ signal })
  await coordinator.shutdown()
  const restored = new MemoryStateBackend()
  const successor = new CheckpointCoordinator(restored, { storage })
  await successor.restore(made.id)
  await successor.shutdown()
  const keys = []
  for await (const [key] of restored.scan({ gte: inner('new Uint8Array(0)'), signal }))
    keys.push(String(bytes(key)))
  found[name] = { keys, source: JSON.stringify(made.source) }
  if (name === 'lmdb') {
    found.verified = (await backend.verify()).ok
    await backend.compact()
    const second = await LmdbStateBackend.open({ path: join(directory, 'store') }).catch((error) => error)
    found.fenced = isStateError(second, 'FENCED') && copy.isStateError(second, 'FENCED')
  }
  await backend.close()
}
process.stdout.write(JSON.stringify(found))
