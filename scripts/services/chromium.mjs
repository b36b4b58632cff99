import { findProgram, installDebianPackage } from './service.mjs'

/** Chromium, from Debian: a browser, which each test starts for itself. */
export const chromium = {
  name: 'chromium',
  prepare() {
    if (findProgram('chromium') === undefined) installDebianPackage('chromium')
  },
  async create() {
    throw new Error('a browser is started by playwright-core, in the tests')
  },
}
