import { configDefaults, defineConfig } from 'vitest/config'

/** Files that start no thread that others share, and leave nothing behind: they share processes, which spares most of their start. */
const plain = [
  'src/{backend,base,codec,files,log,memory,state,storage,testing}/**/*.test.ts',
  'src/checkpoint/format/**/*.test.ts',
  'examples/**/*.test.ts',
]

/** What takes so long hangs. Less would be enough on a quiet machine; on one that has much else to do it is not. */
const LIMIT_MS = 300_000

export default defineConfig({
  test: {
    testTimeout: LIMIT_MS,
    hookTimeout: LIMIT_MS,
    // What another thread or process does may take long on a machine that has much to do.
    expect: { poll: { timeout: LIMIT_MS / 2 } },
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      { extends: true, test: { name: 'plain', include: plain, isolate: false } },
      {
        extends: true,
        test: {
          name: 'alone',
          include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'examples/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...plain],
        },
      },
    ],
  },
})
