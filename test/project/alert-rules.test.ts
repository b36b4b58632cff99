// What lies beside docs/metrics.md, and what the exporter writes, as Prometheus's own tool sees them (Debian: `apt-get install prometheus`, or
// HOLDFAST_PROMTOOL with its path).

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as client from 'prom-client'
import { afterAll, describe, expect, it } from 'vitest'
import { CheckpointCoordinator, MemoryCheckpointStorage, MemoryStateBackend } from '../../src/index.js'
import { prometheusMetrics } from '../../src/metrics.js'

const promtool = process.env['HOLDFAST_PROMTOOL'] ?? 'promtool'
const isThere = spawnSync(promtool, ['--version']).status === 0
const title = isThere
  ? 'promtool'
  : 'promtool (skipped: it is not installed, and HOLDFAST_PROMTOOL names none)'
const metrics = fileURLToPath(new URL('../../docs/metrics/', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'holdfast-promtool-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const run = (args: readonly string[], input = '') =>
  execFileSync(promtool, args, { input, stdio: ['pipe', 'pipe', 'pipe'], encoding: 'utf8' })

describe.skipIf(!isThere)(title, () => {
  it('takes the alert rules', () => {
    expect(run(['check', 'rules', join(metrics, 'alerts.yml')])).toContain('SUCCESS')
  })

  it('raises an alert where a checkpoint is too old, and where a job is unhealthy; none where all is well', () => {
    const test = join(directory, 'test.yml')
    const alertTest = (name: string, alerts: string) => `
      - alertname: ${name}
        eval_time: 60m
        exp_alerts: ${alerts}`
    writeFileSync(
      test,
      `
rule_files: ['${join(metrics, 'alerts.yml')}']
tests:
  - interval: 1m
    input_series:
      - { series: 'holdfast_job_healthy{job="bad"}', values: '0x60' }
      - { series: 'holdfast_job_healthy{job="good"}', values: '1x60' }
      - { series: 'holdfast_checkpoint_age_seconds{coordinator="good"}', values: '30x60' }
      - { series: 'holdfast_checkpoint_failed_total{coordinator="good"}', values: '2x60' }
    alert_rule_test:${alertTest('HoldfastCheckpointTooOld', '[]')}${alertTest('HoldfastNoCheckpoint', '[]')}${alertTest(
      'HoldfastJobUnhealthy',
      `[{ exp_labels: { severity: critical, job: bad }, exp_annotations: { summary: 'Job bad has ended, or waits for its source or sink.' } }]`,
    )}
`,
    )
    expect(run(['test', 'rules', test])).toContain('SUCCESS')
  })

  it('raises every alert where its figures are as it says', () => {
    const raising: { readonly [alert: string]: { readonly [series: string]: string } } = {
      HoldfastCheckpointTooOld: { 'holdfast_checkpoint_age_seconds{coordinator="x"}': '2000x60' },
      HoldfastCheckpointsFail: { 'holdfast_checkpoint_failed_total{coordinator="x"}': '0+1x60' },
      HoldfastNoCheckpoint: { 'holdfast_checkpoint_failed_total{coordinator="x"}': '1x60' },
      HoldfastMirrorBehind: { 'holdfast_checkpoint_mirror_lag_seconds{coordinator="x"}': '4000x60' },
      HoldfastJobUnhealthy: { 'holdfast_job_healthy{job="x"}': '0x60' },
      HoldfastJobBehind: { 'holdfast_job_behind_seconds{job="x"}': '400x60' },
      HoldfastWatermarkStands: {
        'holdfast_job_watermark_delay_seconds{job="x"}': '1000x60',
        'holdfast_job_events_total{job="x"}': '0+10x60',
      },
      HoldfastEventsLate: {
        'holdfast_job_late_total{job="x"}': '0+1x60',
        'holdfast_job_events_total{job="x"}': '0+10x60',
      },
      HoldfastEventsBad: { 'holdfast_job_bad_total{job="x"}': '0+1x60' },
      HoldfastTimersDue: { 'holdfast_job_timers_due{job="x",stage="y"}': '2x60' },
      HoldfastEventLoopBlocked: { 'holdfast_eventloop_delay_seconds{percentile="99"}': '0.3x60' },
    }
    const rules = join(metrics, 'alerts.yml')
    const named = [...readFileSync(rules, 'utf8').matchAll(/alert: (\w+)/g)].map(([, name]) => name)
    expect(Object.keys(raising)).toEqual(named)
    const tests = Object.entries(raising).map(([alert, series]) => ({
      interval: '1m',
      input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
      promql_expr_test: [
        {
          expr: `count(ALERTS{alertname="${alert}",alertstate="firing"})`,
          eval_time: '60m',
          exp_samples: [{ labels: '{}', value: 1 }],
        },
      ],
    }))
    const file = join(directory, 'raised.yml')
    writeFileSync(file, JSON.stringify({ rule_files: [rules], tests }))
    expect(run(['test', 'rules', file])).toContain('SUCCESS')
  })

  it('understands every query of the dashboard', () => {
    const dashboard = JSON.stringify(
      JSON.parse(readFileSync(join(metrics, 'grafana-dashboard.json'), 'utf8')),
    )
    const queries = [...dashboard.matchAll(/"expr":("(?:[^"\\]|\\.)*")/g)].map(
      ([, text = '""']) => JSON.parse(text) as string,
    )
    expect(queries.length).toBeGreaterThan(5)
    const rules = queries.map((query, i) => ({
      record: `query:${i}`,
      expr: query.replaceAll(/\$__rate_interval|\$__interval/g, '5m').replaceAll(/\$\{?\w+\}?/g, '.*'),
    }))
    const file = join(directory, 'queries.yml')
    writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }))
    expect(run(['check', 'rules', file])).toContain('SUCCESS')
  })

  it('has nothing to say against names, units and help of what is exported', async () => {
    const registry = new client.Registry()
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, { storage: new MemoryCheckpointStorage() })
    const exported = prometheusMetrics(
      client,
      { backends: { b: backend }, coordinators: { c: coordinator } },
      { registry },
    )
    await coordinator.createCheckpoint()
    const text = await registry.metrics()
    expect(text).toContain('holdfast_checkpoint_published_total')
    expect(run(['check', 'metrics'], text)).toBe('')
    exported.stop()
    await coordinator.shutdown()
    await backend.close()
  })
})
