/**
 * Finds the devices that are away: all of them after a start or a reconnection, then by presence events, and in case such an
 * event was lost by a periodic look at the devices that left of late.
 */
import type { NatsConnection } from 'nats';
import { watchConnection } from '../../nats/connect.ts';
import { subject } from '../../nats/topology.ts';
import { startPeriodicTask } from '../../shared/async/periodic-task.ts';
import type { PresenceChange } from '../../shared/pipeline/presence.ts';
import type { Context } from '../../shared/service.ts';
import type { AwayDevice } from './away-device.ts';
import * as store from './store.ts';

const PAGE = 1_000;
const RETRY_MS = 1_000;
/** The periodic look goes back this far; longer than it may be late. */
const RECENT_MS = 120_000;

interface Options extends Pick<Context, 'config' | 'db'> {
  nc: NatsConnection;
  onAway(devices: AwayDevice[]): void;
  onConnected(device_id: string): void;
  onError(error: unknown): void;
}
export interface Absences {
  /** All devices that are away were found once. */
  readonly isKnown: boolean;
  close(): Promise<void>;
}

export function watchAbsences({ nc, config, db, onAway, onConnected, onError }: Options): Absences {
  let isKnown = false;
  let isClosed = false;

  async function findAll(): Promise<void> {
    try {
      await store.expireEdgeLeases(db, config.PRESENCE_LEASE_MS);
      for (let after: string | undefined; ; ) {
        const page = await store.findAwayAfter(db, after, PAGE);
        onAway(page);
        after = page.at(-1)?.device_id;
        if (page.length < PAGE) break;
      }
      isKnown = true;
    } catch (error) {
      onError(error);
      if (!isClosed) setTimeout(() => void findAll(), RETRY_MS).unref();
    }
  }

  async function handleChange({ up, down }: PresenceChange): Promise<void> {
    for (const device_id of up) onConnected(device_id);
    if (down.length) onAway(await store.findAwayAmong(db, down));
  }

  nc.subscribe(subject.presence, {
    callback: (error, message) => void (error || handleChange(message.json<PresenceChange>()).catch(onError)),
  });
  watchConnection(nc, { onReconnect: () => void findAll() });
  void findAll();
  const recent = startPeriodicTask(
    async () => {
      await store.expireEdgeLeases(db, config.PRESENCE_LEASE_MS);
      onAway(await store.findLeftWithin(db, RECENT_MS));
    },
    { everyMs: config.PRESENCE_LEASE_MS / 2, onError },
  );
  return {
    get isKnown() {
      return isKnown;
    },
    async close() {
      isClosed = true;
      await recent.close();
    },
  };
}
