import { migrate } from './versioned-store.js'

const [path = '', version = ''] = process.argv.slice(2)
await migrate(path, version)
