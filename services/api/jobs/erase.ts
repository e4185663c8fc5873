/**
 * Erases what deleted accounts have left: their inbox, the contents of their messages, and the rows that a request in
 * flight wrote behind the deletion. The account itself is gone at once. The erasure follows, is repeated while rows
 * written earlier may still arrive, and continues after a restart.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { removeUserInbox } from '../../../nats/inbox/purge.ts';
import { startPeriodicTask } from '../../../shared/async/periodic-task.ts';
import type { Config } from '../../../shared/config/index.ts';
import type { Database } from '../../../shared/db/database.ts';
import { ERASE_UNTIL_MS } from '../../../shared/db/deletion.ts';
import { DELETE_ROWS_OF_DEVICES_OF_USER } from '../../../shared/db/device-tables.ts';
import { isTransient } from '../../../shared/transient.ts';

const EVERY_MS = 60_000;
/** People of one round. */
const PEOPLE = 100;
/** Messages of one statement: a bound on the time for which it holds locks. */
const BATCH = 2_000;

/** Statements of every round, by person. */
const DELETE_LEFTOVERS = ['delete from key_backups where user_id = $1', ...DELETE_ROWS_OF_DEVICES_OF_USER];
/** Statements of the last round. The key log goes only after conversation partners were told that the devices are gone. */
const FINISH = [
  'delete from key_log where user_id = $1 and told_at is not null',
  `update users set erased_at = now() where id = $1 and not exists (select 1 from key_log where user_id = $1)`,
];

interface Eraser {
  /** Begins a round at once instead of at the next interval. */
  runSoon(): void;
  close(): Promise<void>;
}

interface DeletedAccount {
  id: string;
  is_last_round: boolean;
  devices: string[];
}

/** Starts a round every minute. The first one begins at once. */
export function startEraser(db: Database, nc: NatsConnection, config: Config, log: Logger): Eraser {
  const task = startPeriodicTask(() => eraseDeletedAccounts(db, nc, config, log), {
    everyMs: EVERY_MS,
    onError(error) {
      if (!isTransient(error)) log.error({ unit: 'erase', err: error });
    },
  });
  void task.run();
  return { runSoon: () => void task.runAgain(), close: task.close };
}

async function eraseDeletedAccounts(db: Database, nc: NatsConnection, config: Config, log: Logger): Promise<void> {
  const accounts = await db.query<DeletedAccount>(
    `select u.id, u.deleted_at < now() - make_interval(secs => ${ERASE_UNTIL_MS / 1000}) as is_last_round,
       array(select d.id::text from devices d where d.user_id = u.id) as devices
     from users u where u.deleted_at is not null and u.erased_at is null order by u.deleted_at desc limit ${PEOPLE}`,
  );
  for (const { id, is_last_round, devices } of accounts) {
    await removeUserInbox(nc, config, id, devices);
    const messages = await eraseMessages(db, id);
    for (const statement of [...DELETE_LEFTOVERS, ...(is_last_round ? FINISH : [])]) await db.query(statement, [id]);
    if (messages) log.info({ unit: 'erase', user_id: id, messages });
  }
}

/** Turns the messages of a person into tombstones. @returns how many */
async function eraseMessages(db: Database, user_id: string): Promise<number> {
  for (let erased = 0; ; ) {
    const batch = await db.query(
      `update messages m set payload = null, envelopes = null, attachments = null,
         deleted_at = coalesce(m.deleted_at, now())
       from (select conversation_id, seq from messages where sender_id = $1
         and (payload is not null or envelopes is not null or attachments is not null) limit ${BATCH}) as k
       where m.conversation_id = k.conversation_id and m.seq = k.seq returning 1`,
      [user_id],
    );
    erased += batch.length;
    if (batch.length < BATCH) return erased;
  }
}
