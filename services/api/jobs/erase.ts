/**
 * What is left of deleted accounts: their inbox, the contents of their messages, and what a call under way at the deletion
 * has written behind it. The account itself is gone at once; this follows, is repeated while something written before may
 * still come in, and goes on after a restart.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { removeUserInbox } from '../../../nats/inbox/purge.ts';
import type { Config } from '../../../shared/config/index.ts';
import type { Database } from '../../../shared/db/database.ts';
import { isTransient } from '../../../shared/transient.ts';

const EVERY_MS = 60_000;
/** Longer than a command and its entry of the log take when all goes badly. Where history is later than that, it says so. */
const LAST_AFTER_MIN = 10;
const PEOPLE = 100;
const BITE = 2_000;

/** By person. The key log goes once everybody was told that the devices are gone. */
const LATECOMERS = [
  'delete from key_backups where user_id = $1',
  ...['device_presence', 'device_cursors', 'push_states', 'prekeys'].map(
    (table) => `delete from ${table} where device_id in (select id from devices where user_id = $1)`,
  ),
];
const LAST = [
  'delete from key_log where user_id = $1 and told_at is not null',
  `update users set erased_at = now() where id = $1 and not exists (select 1 from key_log where user_id = $1)`,
];

export interface Eraser {
  /** Begins at once instead of at the next round. */
  soon(): void;
  stop(): Promise<void>;
}

interface Gone {
  id: string;
  last: boolean;
  devices: string[];
}

export function startEraser(db: Database, nc: NatsConnection, config: Config, log: Logger): Eraser {
  async function tombstone(user_id: string): Promise<number> {
    for (let all = 0; ; ) {
      const some = await db.query(
        `update messages m set payload = null, envelopes = null, attachments = null,
           deleted_at = coalesce(m.deleted_at, now())
         from (select conversation_id, seq from messages where sender_id = $1
           and (payload is not null or envelopes is not null or attachments is not null) limit ${BITE}) as k
         where m.conversation_id = k.conversation_id and m.seq = k.seq returning 1`,
        [user_id],
      );
      all += some.length;
      if (some.length < BITE) return all;
    }
  }

  async function round(): Promise<void> {
    const people = await db.query<Gone>(
      `select u.id, u.deleted_at < now() - make_interval(mins => ${LAST_AFTER_MIN}) as last,
         array(select d.id::text from devices d where d.user_id = u.id) as devices
       from users u where u.deleted_at is not null and u.erased_at is null order by u.deleted_at desc limit ${PEOPLE}`,
    );
    for (const { id, last, devices } of people) {
      await removeUserInbox(nc, config, id, devices);
      const messages = await tombstone(id);
      for (const statement of [...LATECOMERS, ...(last ? LAST : [])]) await db.query(statement, [id]);
      if (messages) log.info({ unit: 'erase', user_id: id, messages });
    }
  }

  let running: Promise<void> | undefined;
  let again = false;
  let stopped = false;
  const run = (): void => {
    if (stopped) return;
    again = running !== undefined;
    running ??= round()
      .catch((error: unknown) => {
        if (!isTransient(error)) log.error({ unit: 'erase', err: error });
      })
      .finally(() => {
        running = undefined;
        if (again) run();
      });
  };
  const timer = setInterval(run, EVERY_MS).unref();
  run();
  return {
    soon: run,
    async stop() {
      clearInterval(timer);
      stopped = true;
      await running;
    },
  };
}
