import { Registry } from '@prometheus-io/client'
import t from 'tap'
import { recordEventLoopDelays, registerEventLoopLag } from '../../src/metrics/event-loop-lag.ts'
import { parsePage, until } from '../helper.ts'

t.test('the gauges show the delays since the last scrape, in seconds', async (t) => {
  const registry = new Registry()
  const delays = recordEventLoopDelays()
  t.after(() => delays.disable())
  registerEventLoopLag(registry, delays)
  const scrape = async () =>
    Object.entries(parsePage(await registry.metrics())).map(([name, value]): [string, number] => [
      name.replace(/^nodejs_eventloop_lag_(.*)_seconds$/, '$1'),
      value,
    ])
  const names = ['min', 'max', 'mean', 'p50', 'p90', 'p99']
  t.strictSame(
    await scrape(),
    names.map((name) => [name, 0]),
    'before the first delay',
  )

  await until(() => delays.count > 0)
  const blockedUntil = performance.now() + 300
  while (performance.now() < blockedUntil);
  await until(() => delays.max >= 290e6)
  const blocked = await scrape()
  const { min = 0, max = 0, mean = 0, p50 = 0, p90 = 0, p99 = 0 } = Object.fromEntries(blocked)
  t.ok(max >= 0.29 && max < 60)
  t.ok(min > 0 && min <= p50 && p50 <= p90 && p90 <= p99 && p99 <= max)
  t.ok(mean > min && mean < max)

  t.strictSame(await scrape(), blocked, 'without a delay since then')
  await until(() => delays.count > 0)
  t.ok((Object.fromEntries(await scrape()).max ?? max) < max)
})
