export {
  type FetchRequest,
  type HttpIngest,
  type HttpIngestOptions,
  httpIngest,
  type NodeRequest,
  type NodeResponse,
} from './sources/http-ingest/http-ingest.js'
