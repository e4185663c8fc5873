/**
 * Reports when the broker answers the services of this process and yet refuses what they publish, e.g. because its disk was
 * full: a nats-server that ran out of room refuses until it is restarted.
 */
import { startPeriodicTask } from '../shared/async/periodic-task.ts';
import type { Context } from '../shared/service.ts';

const CHECK_EVERY_MS = 1_000;

interface RefusalOptions {
  everyMs?: number;
  /** Called with each change: since when the broker refuses (ms since 1970), undefined once it does not. */
  onChange?(since: number | undefined): void;
}

/** Reports refusals in the log, in a metric and to `onChange`, until it is closed. */
export function watchPublishRefusals(
  { services, log, metrics }: Pick<Context, 'services' | 'log' | 'metrics'>,
  { everyMs = CHECK_EVERY_MS, onChange = () => {} }: RefusalOptions = {},
): { close(): Promise<void> } {
  let reported: number | undefined;
  const check = (): void => {
    const refused = [...services].flatMap(([name, service]) => {
      const since = service.brokerRefusesSince?.();
      return since === undefined ? [] : [{ name, since }];
    });
    const since = refused.length ? Math.min(...refused.map((one) => one.since)) : undefined;
    metrics.brokerRefuses.set(since === undefined ? 0 : Math.max(0, Date.now() - since) / 1_000);
    if (since === reported) return;
    if (since === undefined) log.info({ unit: 'broker' }, 'the broker accepts what is published again');
    else if (reported === undefined)
      log.error(
        { unit: 'broker', services: refused.map(({ name }) => name), since: new Date(since).toISOString() },
        'the broker answers and refuses what is published: look at its disk and its log, see docs/operations.md',
      );
    reported = since;
    onChange(since);
  };
  const task = startPeriodicTask(check, {
    everyMs,
    onError: (error) => log.error({ unit: 'broker', err: error }, 'refusals of the broker could not be reported'),
  });
  check();
  return task;
}
