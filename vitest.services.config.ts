import { defineConfig } from 'vitest/config'
import { compiledSources } from './test/support/compiled-sources.js'
import { longestFirst } from './test/support/longest-first.js'

// The tests on real servers: `npm run test:services`. Each file starts the servers that it needs, and may kill them.

const compiled = await compiledSources()

/** What takes longest: jobs that are killed, and what waits for servers to find out that one is dead. */
const longest = ['kafka', 'redis', 'valkey', 'azurite-kill', 'valkey-cluster', 'postgres'].map(
  (name) => `test/services/${name}.test.ts`,
)

const LIMIT_MS = 240_000

export default defineConfig({
  plugins: compiled?.plugins ?? [],
  test: {
    include: ['test/services/**/*.test.ts'],
    globalSetup: ['test/support/require-build.ts'],
    testTimeout: LIMIT_MS,
    hookTimeout: LIMIT_MS,
    // What another thread, process or server does may take long on a machine that has much to do.
    expect: { poll: { timeout: LIMIT_MS / 2 } },
    // Much of the time is spent waiting for servers.
    maxWorkers: 3,
    sequence: { sequencer: longestFirst(longest) },
    pool: 'forks',
    server: { deps: { external: compiled?.external ?? [] } },
  },
})
