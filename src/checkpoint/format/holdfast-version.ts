/** The version of this package, as manifests name it. A test compares it with package.json. */
export const HOLDFAST_VERSION = '0.1.0'
