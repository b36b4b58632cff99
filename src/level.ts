export { HoldfastLevel } from './adapters/level/holdfast-level.js'
export type { LevelIterator, LevelSnapshot } from './adapters/level/level-iterator.js'
export type {
  HoldfastLevelOptions,
  LevelBatchOptions,
  LevelChainedBatchWriteOptions,
  LevelDelOptions,
  LevelPutOptions,
  LevelWriteOptions,
} from './adapters/level/level-options.js'
