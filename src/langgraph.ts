export {
  type CheckpointSaverOptions,
  checkpointSaver,
  type LangGraphCheckpointModule,
} from './adapters/langgraph/checkpoint-saver.js'
