/**
 * Tells others what happened to a person's devices: caches drop what they know, conversation partners get `device.changed`.
 * The key log is the list of notices that are still to be sent, so a process that dies in between loses none. A notice that
 * is sent twice does no harm, since it carries its number in the log.
 */
import type { Logger } from 'pino';
import type { Gateway } from '../../../nats/gateway.ts';
import { startPeriodicTask } from '../../../shared/async/periodic-task.ts';
import { sleep } from '../../../shared/async/sleep.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { PersonEvent } from '../../../shared/pipeline/person-event.ts';
import { isTransient } from '../../../shared/transient.ts';
import { createDeviceNotices, type PendingNotice } from './device-notices.ts';

const RESEND_EVERY_MS = 5_000;
/** Younger notices are left to the request that caused them. */
const RESEND_AFTER_SEC = 10;
const RESEND_MAX = 200;
/** The longest that a caller waits until the notices are in every inbox. */
const WAIT_MS = 3_000;
const PENDING = 'select user_id, n, device_id, action from key_log where told_at is null';

export interface ChangeNotifier {
  /**
   * Tells caches and partners about a committed change of devices. Resolves when they were told, or after WAIT_MS; never
   * rejects. Notices that could not be sent now are sent later.
   */
  announceChange(user_id: string, event?: PersonEvent): Promise<void>;
  /** Tells a device that it runs out of one-time keys of a kind. @returns false when that could not be said now. */
  notifyKeysLow(user_id: string, device_id: string, stock: { kind: string; count: number }): Promise<boolean>;
  close(): Promise<void>;
}
interface Options {
  db: Database;
  gateway: Gateway;
  log: Logger;
  /** Publishes the core event `people.<user>`, which may be lost. */
  publish(user_id: string, event: PersonEvent): void;
}

export function openChangeNotifier({ db, gateway, log, publish }: Options): ChangeNotifier {
  const logFailure = (error: unknown): void => {
    if (isTransient(error)) log.warn({ unit: 'announcer' }, 'notices are sent later: a part of the service is away');
    else log.error({ unit: 'announcer', err: error });
  };
  const notices = createDeviceNotices(db, gateway);
  const waitAtMost = (work: Promise<unknown>): Promise<unknown> => Promise.race([work, sleep(WAIT_MS, { ref: false })]);

  /** Resolves when all notices are in every inbox, or after WAIT_MS. */
  async function notifyPartners(pending: PendingNotice[]): Promise<void> {
    const { sent } = await notices.sendDeviceChanged(pending);
    await waitAtMost(sent);
  }

  /** Sends the notices that a request could not send, or whose process died. */
  async function resendOverdue(): Promise<void> {
    const overdue = await db.query<PendingNotice>(
      `${PENDING} and created_at < now() - make_interval(secs => $1) order by created_at limit $2`,
      [RESEND_AFTER_SEC, RESEND_MAX],
    );
    for (const user_id of new Set(overdue.map((notice) => notice.user_id))) publish(user_id, {});
    if (overdue.length) await notifyPartners(overdue);
  }
  const resending = startPeriodicTask(resendOverdue, { everyMs: RESEND_EVERY_MS, onError: logFailure });

  async function notifyOf(user_id: string): Promise<void> {
    const pending = await db.query<PendingNotice>(`${PENDING} and user_id = $1 order by n`, [user_id]);
    if (pending.length) await notifyPartners(pending);
  }
  /** By person: two runs at once would find, and send, the same notices. */
  const running = new Map<string, Promise<void>>();

  return {
    async announceChange(user_id, event = {}) {
      publish(user_id, event);
      const run = (running.get(user_id) ?? Promise.resolve())
        .then(() => notifyOf(user_id))
        .catch(logFailure)
        .finally(() => {
          if (running.get(user_id) === run) running.delete(user_id);
        });
      running.set(user_id, run);
      await waitAtMost(run);
    },

    async notifyKeysLow(user_id, device_id, stock) {
      try {
        await notices.sendKeysLow(user_id, device_id, stock);
        return true;
      } catch (error) {
        logFailure(error);
        return false;
      }
    },

    async close() {
      await waitAtMost(Promise.all([resending.close(), ...running.values()]));
    },
  };
}
