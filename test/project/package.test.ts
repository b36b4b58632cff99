import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { root } from './source-file.js'

interface Manifest {
  readonly name: string
  readonly version: string
  readonly type: string
  readonly license: string
  readonly sideEffects: boolean
  readonly engines: { readonly node: string }
  readonly exports: { readonly [path: string]: string | { readonly types: string; readonly default: string } }
  readonly scripts: { readonly [name: string]: string }
  readonly dependencies: { readonly [name: string]: string }
  readonly devDependencies: { readonly [name: string]: string }
}

interface LockedPackage {
  readonly version?: string
  readonly integrity?: string
  readonly resolved?: string
  readonly hasInstallScript?: boolean
  readonly optionalDependencies?: { readonly [name: string]: string }
}

const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const manifest = JSON.parse(read('package.json')) as Manifest
const lock = (JSON.parse(read('package-lock.json')) as { packages: { [place: string]: LockedPackage } })
  .packages
const entries = Object.entries(manifest.exports).flatMap(([path, target]) =>
  typeof target === 'string' ? [] : [{ path, target }],
)

describe('package.json', () => {
  it('says what the project promises', () => {
    expect(manifest).toMatchObject({
      name: 'holdfast',
      license: 'Apache-2.0',
      type: 'module',
      sideEffects: false,
      engines: { node: '>=20.19' },
    })
    expect(read('scripts/bootstrap.mjs')).toContain('const NEEDED_NODE = [20, 19]')
    expect(read('CHANGELOG.md')).toContain(`## ${manifest.version}`)
  })

  it('pins every dependency, and the lock file agrees', () => {
    for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
      expect(version, name).toMatch(/^\d+\.\d+\.\d+$/)
      expect(lock[`node_modules/${name}`]?.version, name).toBe(version)
    }
  })

  it('has no script that runs by itself', () => {
    const automatic =
      /^(?:pre|post)?(?:install|prepare|pack|publish)$|^prepublishOnly$|^(?:pre|post)(?:start|test)$/
    expect(Object.keys(manifest.scripts).filter((name) => automatic.test(name))).toEqual([])
  })

  it('names scripts that exist', () => {
    const files = Object.values(manifest.scripts).flatMap(
      (script) => script.match(/scripts\/[\w-]+\.mjs/g) ?? [],
    )
    expect(files.length).toBeGreaterThan(5)
    expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([])
  })
})

describe('package-lock.json', () => {
  it('has no package that wants to run a script when it is installed', () => {
    // These three look for a compiler only where no package has binaries for the platform. The scripts of this project
    // install without scripts, and everything works.
    const harmless = new Set(
      ['lmdb', 'msgpackr-extract', 'classic-level'].map((name) => `node_modules/${name}`),
    )
    const wanting = Object.keys(lock).filter((place) => lock[place]?.hasInstallScript === true)
    expect(wanting.filter((place) => !harmless.has(place))).toEqual([])
  })

  it('can be checked, and names no server', () => {
    const unchecked = Object.keys(lock).filter(
      (place) => place !== '' && lock[place]?.integrity === undefined,
    )
    expect(unchecked).toEqual([])
    expect(Object.values(lock).filter((entry) => entry.resolved !== undefined)).toEqual([])
  })

  // Without them `npm ci` refuses to start, on every platform.
  it('has the optional packages of every platform', () => {
    const missing = Object.entries(lock).flatMap(([place, entry]) =>
      Object.keys(entry.optionalDependencies ?? {})
        .filter((name) => !(`node_modules/${name}` in lock) && !(`${place}/node_modules/${name}` in lock))
        .map((name) => `${place}: ${name}`),
    )
    expect(missing).toEqual([])
  })
})

describe('the built package', () => {
  let packed: Set<string>

  beforeAll(() => {
    if (!existsSync(join(root, 'dist/entries/index.js'))) throw new Error('build first: npm run build')
    const result = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: root,
      encoding: 'utf8',
    })
    const report = JSON.parse(result.stdout) as
      | { files: { path: string }[] }[]
      | { [name: string]: { files: { path: string }[] } }
    packed = new Set(Object.values(report).flatMap(({ files }) => files.map(({ path }) => path)))
  })

  it.each(entries)('has the files of the export $path', ({ target }) => {
    expect(packed).toContain(target.default.slice('./'.length))
    expect(packed).toContain(target.types.slice('./'.length))
  })

  it.each(entries)('can be imported: $path', async ({ path }) => {
    const module = (await import(join(manifest.name, path).replaceAll('\\', '/'))) as object
    expect(Object.keys(module).length).toBeGreaterThan(0)
    expect(module).not.toHaveProperty('default')
  })

  it('has an export for every entry file, and the other way round', () => {
    const sources = readdirSync(join(root, 'src')).filter((file) => /^[^.]+\.ts$/.test(file))
    const built = sources.map((file) => `./dist/entries/${file.replace('.ts', '.js')}`)
    expect(entries.map(({ target }) => target.default).toSorted()).toEqual(built.toSorted())
  })

  it('holds what its documents link to', () => {
    const dead = [...packed]
      .filter((path) => path.endsWith('.md'))
      .flatMap((path) =>
        Array.from(read(path).matchAll(/\]\(([^)\s]+)\)/g), ([, target = '']) => ({ path, target })),
      )
      .filter(({ target }) => !/^(?:https?:|#)/.test(target))
      .filter(({ path, target }) => {
        const linked = join(dirname(path), target.replace(/#.*/, ''))
        return !packed.has(linked) && ![...packed].some((each) => each.startsWith(linked))
      })
    expect(dead).toEqual([])
  })

  it('holds what users need and nothing else', () => {
    for (const file of ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'docs/errors.md']) {
      expect(packed).toContain(file)
    }
    const strangers = [...packed].filter(
      (path) =>
        !/^(?:dist\/.+\.(?:js|d\.ts)|dist\/threads\/[\w-]+\.cjs|dist\/page\/[\w.]+|docs\/.+\.(?:md|json|png|yml)|package\.json|[A-Z]+(?:\.md)?)$/.test(
          path,
        ),
    )
    expect(strangers).toEqual([])
    // Each module comes in few files of several, and not once more by itself.
    const modules = [...packed].filter((path) => path.endsWith('.js'))
    expect(modules.filter((path) => !/^dist\/(?:command|entries|page)\/[^/]+$/.test(path))).toEqual([])
    expect([...packed].filter((path) => path.includes('.test.'))).toEqual([])
  })
})
