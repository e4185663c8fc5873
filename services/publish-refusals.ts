/**
 * Watches whether the broker answers the services of this process and refuses what they publish, e.g. because its disk
 * was full: a nats-server that ran out of room refuses until it is started again.
 */
import type { Context } from '../shared/service.ts';

const LOOK_EVERY_MS = 1_000;

export interface RefusalOptions {
  everyMs?: number;
  /** Called with each change: since when the broker refuses (ms since 1970), undefined once it does not. */
  changed?(since: number | undefined): void;
}

/** Says it in the log and in a metric, and tells `changed`. Returns what ends the watch. */
export function watchRefusals(
  { services, log, metrics }: Pick<Context, 'services' | 'log' | 'metrics'>,
  { everyMs = LOOK_EVERY_MS, changed = () => {} }: RefusalOptions = {},
): () => void {
  let known: number | undefined;
  const look = (): void => {
    const refused = [...services].flatMap(([name, service]) => {
      const since = service.brokerRefusesSince?.();
      return since === undefined ? [] : [{ name, since }];
    });
    const since = refused.length ? Math.min(...refused.map((one) => one.since)) : undefined;
    metrics.brokerRefuses.set(since === undefined ? 0 : Math.max(0, Date.now() - since) / 1_000);
    if (since === known) return;
    if (since === undefined) log.info({ unit: 'broker' }, 'the broker takes what is published again');
    else if (known === undefined)
      log.error(
        { unit: 'broker', services: refused.map(({ name }) => name), since: new Date(since).toISOString() },
        'the broker answers and refuses what is published: look at its disk and its log, see docs/operations.md',
      );
    known = since;
    changed(since);
  };
  const timer = setInterval(look, everyMs).unref();
  look();
  return () => clearInterval(timer);
}
