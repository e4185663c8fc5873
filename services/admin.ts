/** `npm run admin -- <command>`: commands of operators for a running system, or for one whose database is up. */
import { parseArgs } from 'node:util';
import type { NatsConnection } from 'nats';
import { connectNats } from '../nats/connect.ts';
import { purgeInbox } from '../nats/inbox/purge.ts';
import { findBroker } from '../nats/url.ts';
import { openBlindIndex } from '../shared/auth/blind-index.ts';
import { reencryptPeople } from '../shared/auth/encrypted-columns.ts';
import { endSessions } from '../shared/auth/sessions.ts';
import { renewSigningKey, rotateSigningKey } from '../shared/auth/signing-key-rotation.ts';
import { type Config, readConfig } from '../shared/config/index.ts';
import { type Database, openDatabase } from '../shared/db/database.ts';
import { resolveAdminToken, resolvePaymentsSecret, withLocalDatabase } from './local/operator-config.ts';

const HELP = `Usage: npm run admin -- <command>

In the database: DATABASE_URL, or that of npm start in DATA_DIR.
  rotate-keys         Signs access tokens with a new key. Tokens of the old key stay valid until they expire.
  reencrypt           Encrypts and indexes personal fields with the first of PERSONAL_KEYS and of PERSONAL_INDEX_KEYS.
                      Signs access tokens with a new key, if another one of PERSONAL_KEYS encrypts the current key.
  suspend <number>    Refuses log-ins to this account, and ends its sessions within REVOCATION_POLL_MS.
  reinstate <number>  Allows log-ins to a suspended account again.

On the broker: NATS_URL and NATS_SECRET, or that of npm start in DATA_DIR.
  purge-inbox <user_id> [--device <id>]
                      Removes what waits in the inbox of a person, or only what is addressed to one device. The devices
                      receive inbox.gap with reason purged, and fetch from history what it still has.

From ADMIN_TOKEN or NATS_SECRET, or from the secrets of npm start in DATA_DIR; for scripts: npm run --silent admin -- …
  token               Prints the service token that makes the other ones (POST /v1/admin/tokens).
  payments-secret     Prints the secret that signs payment events: PAYMENTS_WEBHOOK_SECRET, or the derived one.
`;

/** Commands that need the configuration only. */
const CONFIG_COMMANDS: Record<string, (config: Config) => string> = {
  token: resolveAdminToken,
  'payments-secret': resolvePaymentsSecret,
};

type DatabaseCommand = (db: Database, config: Config, argument: string | undefined) => Promise<string>;

const DATABASE_COMMANDS: Record<string, DatabaseCommand> = {
  async 'rotate-keys'(db, config) {
    await rotateSigningKey(db, config);
    return 'access tokens are signed with a new key from now on';
  },
  async reencrypt(db, config) {
    const { fields, unreadable } = await reencryptPeople(db, openBlindIndex(config));
    const renewed = unreadable === 0 && (await renewSigningKey(db, config));
    const done = `${fields} fields were encrypted or indexed again${renewed ? '; access tokens are signed with a new key from now on' : ''}`;
    if (unreadable)
      throw new Error(
        `${done}; ${unreadable} rows are encrypted with keys that PERSONAL_KEYS lacks: add the keys, then run it again`,
      );
    return done;
  },
  async suspend(db, _config, number) {
    const ended = await db.transaction(async ({ query }) => {
      const id = await setSuspension(query, number, 'now()');
      return await endSessions(query, id, 'suspended');
    });
    return `suspended; ${ended.length} sessions ended`;
  },
  async reinstate(db, _config, number) {
    await setSuspension(db.query, number, 'null');
    return 'reinstated; log-ins are allowed again';
  },
};

const BROKER_COMMANDS: Record<string, (nc: NatsConnection, words: string[]) => Promise<string>> = {
  async 'purge-inbox'(nc, words) {
    const { values, positionals } = parseArgs({
      args: words,
      options: { device: { type: 'string' } },
      allowPositionals: true,
    });
    const [user, ...more] = positionals;
    if (!user || more.length || ![user, values.device ?? user].every(isUuid))
      throw new Error('Usage: npm run admin -- purge-inbox <user_id> [--device <id>], both ids as UUIDs in lower case');
    const purged = await purgeInbox(nc, user, values.device);
    return purged ? `${purged} items were removed; the devices receive inbox.gap` : 'the inbox was empty';
  },
};

const isUuid = (text: string): boolean => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text);

/** Connects as admin to NATS_URL, or to the broker of npm start in DATA_DIR. */
async function connectBroker(config: Config): Promise<NatsConnection> {
  const { NATS_URL, NATS_SECRET } = findBroker(config);
  return await connectNats({ NATS_URL, NATS_SECRET }, 'admin', false);
}

/** @returns the id of the account. @throws when no account has the number. */
async function setSuspension(
  query: Database['query'],
  number: string | undefined,
  at: 'now()' | 'null',
): Promise<string> {
  const [row] = await query<{ id: string }>(
    `update users set suspended_at = ${at} where number = $1 and deleted_at is null returning id`,
    [number ?? ''],
  );
  if (!row) throw new Error(`no account has the number ${number ?? '(none given)'}`);
  return row.id;
}

const find = <T>(commands: Record<string, T>, name: string): T | undefined =>
  Object.hasOwn(commands, name) ? commands[name] : undefined;

/** Runs one command and returns the text to print. @throws an error that says what is wrong and what to do. */
export async function admin(words: string[], given: Config): Promise<string> {
  const [name, argument] = words;
  if (name === undefined || name.startsWith('-')) return HELP;
  const ofConfig = find(CONFIG_COMMANDS, name);
  if (ofConfig) return `${ofConfig(given)}\n`;
  const onBroker = find(BROKER_COMMANDS, name);
  if (onBroker) {
    const nc = await connectBroker(given);
    try {
      return `${await onBroker(nc, words.slice(1))}\n`;
    } finally {
      await nc.close();
    }
  }
  const inDatabase = find(DATABASE_COMMANDS, name);
  if (!inDatabase) throw new Error(`${name}: no such command\n\n${HELP}`);
  const config = withLocalDatabase(given);
  const db = await openDatabase(config);
  try {
    return `${await inDatabase(db, config, argument)}\n`;
  } finally {
    await db.close();
  }
}

if (import.meta.main) {
  try {
    process.stdout.write(await admin(process.argv.slice(2), readConfig()));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
