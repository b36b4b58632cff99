import { refusesUnfitStore } from './unfit-stores.js'

refusesUnfitStore('s3mock')
