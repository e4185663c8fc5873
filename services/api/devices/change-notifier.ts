/**
 * Says to others what happened to a person's devices: caches drop what they know, conversation partners get
 * `device.changed`. The key log is the list of what is still to be told, so a process that dies in between loses nothing;
 * told twice does no harm, since each carries its place in the log.
 */
import type { Logger } from 'pino';
import type { Gateway } from '../../../nats/gateway.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { NoticeCommand } from '../../../shared/pipeline/commands.ts';
import type { PersonEvent } from '../../../shared/pipeline/person-event.ts';
import { isTransient } from '../../../shared/transient.ts';

interface Untold {
  user_id: string;
  n: number;
  device_id: string;
  action: 'added' | 'changed' | 'removed';
}
const LOOK_MS = 5_000;
/** What is younger is being told by the request that caused it. */
const LEFT_OVER_SEC = 10;
const AT_ONCE = 200;
/** How long anybody waits until the news stand in every inbox. */
const PATIENCE_MS = 3_000;

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms).unref());

export interface ChangeNotifier {
  /**
   * After the commit: caches forget, partners are told. Resolves when they were, or a little later; never rejects. What
   * could not be said is said later.
   */
  changed(user_id: string, event?: PersonEvent): Promise<void>;
  /** A device runs out of one-time keys of a kind. False when that could not be said now. */
  low(user_id: string, device_id: string, stock: { kind: string; count: number }): Promise<boolean>;
  stop(): Promise<void>;
}
interface Options {
  db: Database;
  gateway: Gateway;
  log: Logger;
  /** Tells every process at once, perhaps in vain. */
  publish(user_id: string, event: PersonEvent): void;
}

export function openChangeNotifier({ db, gateway, log, publish }: Options): ChangeNotifier {
  /** Resolves when it is durable; `arrived` is called when fanout has done its part. */
  const submit = (command: NoticeCommand, arrived = (): void => {}): Promise<void> =>
    new Promise((resolve, reject) => {
      gateway.submit(command, undefined, { answered: () => resolve(), failed: reject, sent: arrived });
    });

  /** Resolves when all of it stands in every inbox. */
  async function tell(rows: Untold[]): Promise<void> {
    const arrived: Promise<void>[] = [];
    await Promise.all(
      rows.map(({ user_id, n, device_id, action }) => {
        const command: NoticeCommand = {
          kind: 'notice',
          conversation_id: user_id,
          user_id,
          device_id,
          type: 'device.changed',
          audience: 'partners',
          fields: { user_id, device_id, change: action, n },
          ...(action === 'removed' && { removed: device_id }),
        };
        let done = (): void => {};
        arrived.push(
          new Promise((resolve) => {
            done = resolve;
          }),
        );
        return submit(command, done);
      }),
    );
    await db.query(
      `update key_log l set told_at = now() from unnest($1::uuid[], $2::int[]) as t(user_id, n)
       where l.user_id = t.user_id and l.n = t.n`,
      [rows.map(({ user_id }) => user_id), rows.map(({ n }) => n)],
    );
    await Promise.race([Promise.all(arrived), pause(PATIENCE_MS)]);
  }

  const UNTOLD = 'select user_id, n, device_id, action from key_log where told_at is null';
  async function leftOver(): Promise<void> {
    const rows = await db.query<Untold>(
      `${UNTOLD} and created_at < now() - make_interval(secs => $1) order by created_at limit $2`,
      [LEFT_OVER_SEC, AT_ONCE],
    );
    for (const user_id of new Set(rows.map((row) => row.user_id))) publish(user_id, {});
    if (rows.length) await tell(rows);
  }

  const complain = (error: unknown): void => {
    if (isTransient(error)) log.warn({ unit: 'announcer' }, 'told later: a part of the service is away');
    else log.error({ unit: 'announcer', err: error });
  };
  const telling = new Map<string, Promise<void>>();
  let running: Promise<void> | undefined;
  const timer = setInterval(() => {
    running ??= leftOver()
      .catch(complain)
      .finally(() => {
        running = undefined;
      });
  }, LOOK_MS).unref();

  return {
    async changed(user_id, event = {}) {
      publish(user_id, event);
      // One after the other for a person, or both would find the same untold.
      const mine = (telling.get(user_id) ?? Promise.resolve())
        .then(() => db.query<Untold>(`${UNTOLD} and user_id = $1 order by n`, [user_id]))
        .then((rows) => (rows.length ? tell(rows) : undefined))
        .catch(complain)
        .finally(() => {
          if (telling.get(user_id) === mine) telling.delete(user_id);
        });
      telling.set(user_id, mine);
      await Promise.race([mine, pause(PATIENCE_MS)]);
    },
    async low(user_id, device_id, stock) {
      return await submit({
        kind: 'notice',
        conversation_id: user_id,
        user_id,
        device_id: '',
        type: 'keys.low',
        audience: { device_id },
        fields: stock,
      }).then(
        () => true,
        (error: unknown) => {
          complain(error);
          return false;
        },
      );
    },
    async stop() {
      clearInterval(timer);
      await Promise.race([Promise.all([running, ...telling.values()]), pause(PATIENCE_MS)]);
    },
  };
}
