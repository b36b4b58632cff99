export {
  type InspectedSources,
  type InspectorOptions,
  type RunningInspector,
  serveInspector,
} from './inspector/serve-inspector.js'
