import { configDefaults, defineConfig } from 'vitest/config'
import { filesWithLongCounts } from './scripts/test-long.mjs'
import { compiledSources } from './test/support/compiled-sources.js'
import { longestFirst } from './test/support/longest-first.js'

/**
 * Files that need a process of their own: they use up what it has, end threads in the middle, mount disks, or measure. All others share
 * processes, file after file, which spares each of them the start and the loading of the sources: they leave nothing behind,
 * and register what cleans up in each file (a module that several files import runs once).
 */
const alone = [
  'src/checkpoint/worker/host-load.test.ts',
  'src/lmdb/commit/writer-port.test.ts',
  'test/faults/{full-disk,lmdb-full-disk,lmdb-read-only-disk}.test.ts',
  'test/large/**/*.test.ts',
]

/**
 * Tests of the repository itself (layers, documents, scripts), of the package as others install, bundle and start it, of all commands of its
 * command line, of the examples as they are started, of the conformance suite by engines that break it, of keys with very many windows, of S3
 * stores of all kinds, and of stores of the persistent engine that are filled, damaged, shared by processes, or whose calls fail one by one. What they set up,
 * compile and start takes long and changes seldom: `npm run test:project`, a step of the gate of its own, and not `npm test`.
 */
const project = [
  'examples/nexmark/nexmark.test.ts',
  'examples/token-usage/file-source.test.ts',
  'src/cli/run.test.ts',
  'src/cli/commands/*.test.ts',
  'src/lmdb/{compaction,expiry-keeps-pace,full-store,lmdb-state-backend,range-deletes,staged-writes,statistics}.test.ts',
  'src/lmdb/commit/group-commit.test.ts',
  'src/lmdb/log/logged-store.test.ts',
  'src/lmdb/share/lent-snapshot-reader.test.ts',
  'src/lmdb/store/{one-process,store-guard,verify-process}.test.ts',
  'src/s3/s3-checkpoint-storage.test.ts',
  'src/testing/{conformance,model-conformance}.test.ts',
  'src/window/operator/many-windows.test.ts',
  'test/checkpoint-files.test.ts',
  'test/cli-process.test.ts',
  'test/declarations.test.ts',
  'test/engine-package.test.ts',
  'test/faults/{lease-race,lmdb-bit-rot,lmdb-commits.faults,lmdb-equal-pids,lmdb-log.faults,lmdb-processes,state-index-kill,state-migration-kill,terminated-threads}.test.ts',
  'test/job.test.ts',
  'test/lmdb-durable-after-burst.test.ts',
  'test/model/lmdb-kill-model.test.ts',
  'test/nexmark-kill.test.ts',
  'test/project/**/*.test.ts',
  'test/state-allocation.test.ts',
  'test/surroundings/**/*.test.ts',
  'test/two-copies.test.ts',
]

/**
 * Those of the persistent engine that know nothing of its log, once more with one: whatever store they open (`test/support/with-log.ts`). What is durable when
 * is another matter, and what is there, and what is told of it, must be the same. Not with their full counts: some go by commits of the tree, which a log
 * makes fewer.
 */
const withLog = [
  'src/lmdb/{compaction,expiry-keeps-pace,full-store,in-place,lmdb-state-backend,long-held-snapshots,range-deletes,staged-writes,statistics}.test.ts',
  'src/lmdb/commit/group-commit.test.ts',
  'src/lmdb/share/lent-snapshot-reader.test.ts',
  'src/lmdb/store/{compact-store,deleted-ranges,one-process,store-guard}.test.ts',
]

/** In the gate, which runs them with their full counts behind this. */
const leftToLongRun = process.env['HOLDFAST_LONG_FOLLOWS'] === '1' ? filesWithLongCounts() : []

/** Those that need a server: `npm run test:services` (vitest.services.config.ts). */
const onServers = ['test/services/**']

/** What takes longest. */
const longest = [
  'src/lmdb/lmdb-conformance.test.ts',
  'test/faults/lmdb-commits.faults.test.ts',
  'src/checkpoint/coordinator/coordinator-endings.test.ts',
  'src/lmdb/lmdb-state-backend.test.ts',
  'test/faults/job-kill.test.ts',
  'test/nexmark-kill.test.ts',
  'test/faults/coordinator.faults.test.ts',
  'test/large/cli-memory.test.ts',
  'src/job/run-job.test.ts',
  'src/lmdb/compaction.test.ts',
  'src/lmdb/lmdb-conformance-of-every-write.test.ts',
  'src/lmdb/lmdb-conformance-with-log.test.ts',
  'src/memory/memory-conformance.test.ts',
  'src/testing/model-conformance.test.ts',
]

/** What takes so long hangs. Less would be enough on a quiet machine; on one that has much else to do it is not. */
const LIMIT_MS = 300_000

// While they are watched, tests run on the sources themselves: those change.
const watches = !process.argv.includes('run')
const compiled = watches ? undefined : await compiledSources()
if (!watches && compiled === undefined) {
  process.stderr.write('The build is not current (npm run build): the tests run on the sources themselves.\n')
}

const common = {
  testTimeout: LIMIT_MS,
  hookTimeout: LIMIT_MS,
  // What another thread or process does may take long on a machine that has much to do.
  expect: { poll: { timeout: LIMIT_MS / 2 } },
  pool: 'forks',
  server: { deps: { external: compiled?.external ?? [] } },
} as const

export default defineConfig({
  test: {
    // Much of the time is spent waiting, for disks, threads and processes: two cores have something to do for three workers.
    maxWorkers: 3,
    sequence: { sequencer: longestFirst(longest) },
    globalSetup: ['test/support/require-build.ts'],
    projects: [
      {
        plugins: compiled?.plugins ?? [],
        test: {
          ...common,
          name: 'alone',
          include: alone,
          exclude: [...configDefaults.exclude, ...leftToLongRun],
        },
      },
      {
        plugins: compiled?.plugins ?? [],
        test: {
          ...common,
          name: 'project',
          include: project,
          exclude: [...configDefaults.exclude, ...leftToLongRun],
        },
      },
      {
        plugins: compiled?.plugins ?? [],
        test: {
          ...common,
          name: 'project with log',
          include: process.env['HOLDFAST_LONG'] === '1' ? [] : withLog,
          setupFiles: ['test/support/with-log.ts'],
        },
      },
      {
        plugins: compiled?.plugins ?? [],
        test: {
          ...common,
          name: 'shared',
          include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'examples/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...alone, ...onServers, ...project, ...leftToLongRun],
          isolate: false,
        },
      },
    ],
  },
})
