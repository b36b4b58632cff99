import { migrate } from './versioned-store.js'

const [path = '', version = '', lastPage = ''] = process.argv.slice(2)
await migrate(path, version, Number(lastPage))
