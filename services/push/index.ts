/** push: wakes devices that are away, by push providers. A wake-up has no content; the app fetches what waits. */
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { isTransient } from '../../shared/transient.ts';
import { watchAbsences } from './absences.ts';
import type { AwayDevice } from './away-device.ts';
import { openSenders } from './senders.ts';
import * as store from './store.ts';
import { WakeDispatcher } from './wake-dispatcher.ts';
import { WakeWatcher } from './wake-watcher.ts';

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('push');
  const sender = await openSenders(config, db);
  const onError = (error: unknown): void => {
    if (isTransient(error)) log.warn({ stage: 'push', reason: String(error) }, 'failed, trying again');
    else log.error({ stage: 'push', err: error });
  };
  const watcher = new WakeWatcher(nc, config, log, (device) => dispatcher.add(device));
  const watch = (devices: AwayDevice[]): void => {
    for (const device of devices) if (!dispatcher.has(device.device_id)) watcher.add(device);
  };
  const dispatcher = new WakeDispatcher({
    ...{ config, log, metrics, db, sender, onError },
    hasWakingItem: (device) => watcher.hasWakingItem(device),
    watchAway: async (device_ids) => watch(await store.findAwayAmong(db, device_ids)),
  });
  const absences = watchAbsences({
    ...{ nc, config, db, onError },
    onAway: watch,
    onConnected: (device_id) => watcher.remove(device_id),
  });

  return {
    ready: () => {
      if (nc.isClosed()) return 'the broker connection is closed';
      return absences.isKnown || 'the devices that are away are not known yet';
    },
    async close() {
      watcher.close();
      await Promise.all([absences.close(), dispatcher.close()]);
      await sender.close();
      await nc.drain();
    },
  };
}

export default { open } satisfies ServiceDefinition;
