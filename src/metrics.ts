export { type Health, type HealthOptions, health } from './metrics/health.js'
export { type OpenTelemetryMeter, openTelemetryMetrics } from './metrics/open-telemetry.js'
export {
  type PrometheusClient,
  type PrometheusOptions,
  type PrometheusRegistry,
  prometheusMetrics,
  type RunningMetrics,
} from './metrics/prometheus.js'
export type {
  MeasuredBackend,
  MeasuredCoordinator,
  MeasuredJob,
  MetricSources,
} from './metrics/sources.js'
