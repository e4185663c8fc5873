/**
 * push: content-free wake-ups for devices that are away. Watches those who left (watch.ts); what is due stands in Postgres
 * and is taken from there, so that a wake-up outlives this process, and several processes share the work. Before a wake-up
 * goes out it is asked once more whether the device is away, not muted, and still has something waiting.
 */
import { subject } from '../../nats/topology.ts';
import type { PresenceChange } from '../../shared/pipeline/presence.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { isTransient } from '../../shared/transient.ts';
import { next } from './handle.ts';
import { openSenders } from './senders.ts';
import * as store from './store.ts';
import { WakeWatcher } from './wake-watcher.ts';

const PAGE = 1_000;
const TICK_MS = 1_000;
/** Who left so long ago is looked for by a sweep; longer than a sweep may be late. */
const RECENT_MS = 120_000;

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('push');
  const senders = await openSenders(config, db);
  let state: true | string = 'has not looked who is away';
  let closed = false;
  let due = new Map<string, store.Away>();
  let flushing: NodeJS.Timeout | undefined;
  let ticking: Promise<void> | undefined;
  const sending = new Set<Promise<void>>();

  const watch = new WakeWatcher(nc, config, log, (device) => {
    due.set(device.device_id, device);
    flushing ??= setTimeout(() => void tick(), config.PUSH_DELAY_MS);
  });
  const arm = (devices: store.Away[]): void => {
    for (const device of devices) if (!due.has(device.device_id)) watch.add(device);
  };

  /** Everybody who is away, after a start or when something may have gone unheard. */
  async function lookForAll(): Promise<void> {
    for (let after: string | undefined; ; ) {
      const page = await store.awayAfter(db, after, PAGE);
      arm(page);
      after = page.at(-1)?.device_id;
      if (page.length < PAGE) return;
    }
  }

  async function heed({ up, down }: PresenceChange): Promise<void> {
    for (const device of up) watch.removeDevice(device);
    if (down.length) arm(await store.awayOf(db, down));
  }

  async function wake(one: store.Due): Promise<void> {
    const { device_id, target, online, muted_until, absence, since } = one;
    if (!target || online) return await store.rest(db, device_id);
    if (absence?.getTime() !== since.getTime()) {
      // It was here meanwhile, and left again.
      await store.rest(db, device_id);
      return arm(await store.awayOf(db, [device_id]));
    }
    if (muted_until && muted_until.getTime() > Date.now()) return await store.sleepUntil(db, device_id, muted_until);
    if (!(await watch.waits(one))) {
      await store.rest(db, device_id);
      return arm(await store.awayOf(db, [device_id]));
    }
    const begun = performance.now();
    const sent = await senders.send(target);
    const ms = Math.round(performance.now() - begun);
    metrics.records.inc({ stage: 'push', outcome: sent.is });
    log.info({
      stage: 'push',
      device_id,
      provider: target.provider,
      ms,
      outcome: sent.is,
      ...('reason' in sent && { reason: sent.reason }),
    });
    if (sent.is === 'dead') return await store.dropTarget(db, one);
    await store.setSchedule(db, one, next(one, sent, config), sent.is === 'ok');
  }

  async function round(): Promise<void> {
    if (due.size) {
      const devices = due;
      due = new Map();
      try {
        await store.setDue(db, [...devices.values()]);
      } catch (error) {
        for (const [id, device] of devices) if (!due.has(id)) due.set(id, device);
        throw error;
      }
    }
    while (!closed && sending.size < config.PUSH_CONCURRENCY) {
      const claimed = await store.claim(db, config.PUSH_CONCURRENCY - sending.size);
      if (!claimed.length) return;
      for (const one of claimed) {
        const work = wake(one)
          .catch((error: unknown) => complain(error))
          .finally(() => sending.delete(work));
        sending.add(work);
      }
    }
  }
  const complain = (error: unknown): void => {
    if (isTransient(error)) log.warn({ stage: 'push', reason: String(error) }, 'tried again soon');
    else log.error({ stage: 'push', err: error });
  };
  function tick(): Promise<void> {
    clearTimeout(flushing);
    flushing = undefined;
    ticking ??= round()
      .catch(complain)
      .finally(() => {
        ticking = undefined;
        if (due.size && !closed) flushing ??= setTimeout(() => void tick(), config.PUSH_DELAY_MS);
      });
    return ticking;
  }

  nc.subscribe(subject.presence, {
    callback: (error, message) => void (error || heed(message.json<PresenceChange>()).catch(complain)),
  });
  const everybody = async (): Promise<void> => {
    try {
      await store.buryEdges(db, config.PRESENCE_LEASE_MS);
      await lookForAll();
      state = true;
    } catch (error) {
      complain(error);
      if (!closed) setTimeout(() => void everybody(), TICK_MS).unref();
    }
  };
  void everybody();
  void (async () => {
    for await (const { type } of nc.status()) if (type === 'reconnect') void everybody();
  })();
  const timer = setInterval(() => void tick(), TICK_MS).unref();
  const sweeping = setInterval(() => {
    void (async () => {
      await store.buryEdges(db, config.PRESENCE_LEASE_MS);
      arm(await store.awaySince(db, RECENT_MS));
    })().catch(complain);
  }, config.PRESENCE_LEASE_MS / 2).unref();

  return {
    ready: () => (nc.isClosed() ? 'the broker connection is closed' : state),
    async close() {
      closed = true;
      clearInterval(timer);
      clearInterval(sweeping);
      clearTimeout(flushing);
      watch.clear();
      await ticking;
      await Promise.all(sending);
      await senders.close();
      await nc.drain();
    },
  };
}

export default { open } satisfies ServiceDefinition;
