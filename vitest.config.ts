import { configDefaults, defineConfig } from 'vitest/config'

/** Files that start nothing and leave nothing behind: they share processes, which spares most of their start. */
const plain = ['src/{base,codec,log}/**/*.test.ts', 'src/checkpoint/{format,archive}/**/*.test.ts']

export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 60_000,
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
