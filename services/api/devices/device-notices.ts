/** Sends the notices `device.changed` and `keys.low` through the log into the inboxes of devices. */
import type { Gateway } from '../../../nats/gateway.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { NoticeCommand } from '../../../shared/pipeline/commands.ts';

/** A row of the key log whose notice was not sent yet. */
export interface PendingNotice {
  user_id: string;
  n: number;
  device_id: string;
  action: 'added' | 'changed' | 'removed';
}

export interface DeviceNotices {
  /**
   * Tells conversation partners, and marks the rows of the key log as told. Resolves when the notices are durable; `sent`
   * resolves when fanout has written them to every inbox.
   */
  sendDeviceChanged(notices: PendingNotice[]): Promise<{ sent: Promise<unknown> }>;
  /** Tells one device. Resolves when the notice is durable. */
  sendKeysLow(user_id: string, device_id: string, stock: { kind: string; count: number }): Promise<void>;
}

const deviceChanged = ({ user_id, n, device_id, action }: PendingNotice): NoticeCommand => ({
  kind: 'notice',
  conversation_id: user_id,
  user_id,
  device_id,
  type: 'device.changed',
  audience: 'partners',
  fields: { user_id, device_id, change: action, n },
  ...(action === 'removed' && { removed: device_id }),
});

export function createDeviceNotices(db: Database, gateway: Gateway): DeviceNotices {
  /** Resolves when the command is durable. `onSent` is called when fanout has written it to every inbox. */
  const submit = (command: NoticeCommand, onSent = (): void => {}): Promise<void> =>
    new Promise((resolve, reject) => {
      gateway.submit(command, undefined, { answered: () => resolve(), failed: reject, sent: onSent });
    });

  return {
    async sendDeviceChanged(notices) {
      const sent: Promise<void>[] = [];
      await Promise.all(
        notices.map((notice) => {
          const { promise, resolve } = Promise.withResolvers<void>();
          sent.push(promise);
          return submit(deviceChanged(notice), resolve);
        }),
      );
      await db.query(
        `update key_log l set told_at = now() from unnest($1::uuid[], $2::int[]) as t(user_id, n)
         where l.user_id = t.user_id and l.n = t.n`,
        [notices.map(({ user_id }) => user_id), notices.map(({ n }) => n)],
      );
      return { sent: Promise.all(sent) };
    },

    sendKeysLow: (user_id, device_id, stock) =>
      submit({
        kind: 'notice',
        conversation_id: user_id,
        user_id,
        device_id: '',
        type: 'keys.low',
        audience: { device_id },
        fields: stock,
      }),
  };
}
