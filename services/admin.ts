/** `npm run admin -- <command>`: what operators do to a running system, or to one whose database is up. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { NatsConnection } from 'nats';
import { connectNats } from '../nats/connect.ts';
import { purgeInbox } from '../nats/inbox/purge.ts';
import { findBroker } from '../nats/url.ts';
import { openBlindIndex } from '../shared/auth/blind-index.ts';
import { endSessions } from '../shared/auth/sessions.ts';
import { renewSigningKey, rotateSigningKey } from '../shared/auth/signing-keys.ts';
import { type Config, readConfig } from '../shared/config/index.ts';
import { type Database, openDatabase } from '../shared/db/database.ts';
import { resealPeople } from '../shared/db/sealed-columns.ts';
import { resolveAdminToken, resolvePaymentsSecret } from './local/operator-secrets.ts';
import { postgresUrl } from './local/postgres.ts';
import { readSecrets, type Secrets, UnusableSecretsError } from './local/secrets.ts';

const HELP = `npm run admin -- rotate-keys         a new key signs access tokens; those signed before stay good until they expire
npm run admin -- reencrypt           personal fields and their index under the first of PERSONAL_KEYS and PERSONAL_INDEX_KEYS;
                                     a new key signs access tokens, where the one of now is under another of them
npm run admin -- suspend <number>    nobody logs in to this account, its sessions end within REVOCATION_POLL_MS
npm run admin -- reinstate <number>  undoes that

On DATABASE_URL, or on what npm start runs in DATA_DIR.

npm run admin -- purge-inbox <user_id> [--device <id>]
                                     removes what waits for a person, or what is addressed to that device only; the devices
                                     are told inbox.gap with reason purged, and fetch from history what it still has

On NATS_URL and NATS_SECRET, or on what npm start runs in DATA_DIR.

npm run --silent admin -- token            the service token that makes the others (POST /v1/admin/tokens)
npm run --silent admin -- payments-secret  what payment events are signed with, unless PAYMENTS_WEBHOOK_SECRET says

Of ADMIN_TOKEN or NATS_SECRET, or of what npm start runs in DATA_DIR.
`;

/** What follows from the configuration alone. */
const DERIVED: Record<string, (config: Config) => string> = {
  token: resolveAdminToken,
  'payments-secret': resolvePaymentsSecret,
};

type Command = (db: Database, config: Config, argument: string | undefined) => Promise<string>;

const COMMANDS: Record<string, Command> = {
  async 'rotate-keys'(db, config) {
    await rotateSigningKey(db, config);
    return 'a new key signs from now on';
  },
  async reencrypt(db, config) {
    const { fields, unreadable } = await resealPeople(db, openBlindIndex(config));
    const renewed = unreadable === 0 && (await renewSigningKey(db, config));
    const done = `${fields} fields were encrypted or indexed anew${renewed ? '; a new key signs from now on' : ''}`;
    if (unreadable) throw new Error(`${done}; ${unreadable} rows are under keys that PERSONAL_KEYS lacks`);
    return done;
  },
  async suspend(db, _config, number) {
    const ended = await db.transaction(async ({ query }) => {
      const id = await mark(query, number, 'now()');
      return await endSessions(query, id, 'suspended');
    });
    return `suspended; ${ended.length} sessions ended`;
  },
  async reinstate(db, _config, number) {
    await mark(db.query, number, 'null');
    return 'may log in again';
  },
};

/** What is done on the broker, with the words behind the command. */
const ON_BROKER: Record<string, (nc: NatsConnection, words: string[]) => Promise<string>> = {
  async 'purge-inbox'(nc, words) {
    const { values, positionals } = parseArgs({
      args: words,
      options: { device: { type: 'string' } },
      allowPositionals: true,
    });
    const [user, ...more] = positionals;
    if (!user || more.length || ![user, values.device ?? user].every(isUuid))
      throw new Error('purge-inbox wants the id of one user, and after --device the id of one of their devices');
    const purged = await purgeInbox(nc, user, values.device);
    return purged ? `${purged} items were removed; the devices are told` : 'nothing waits there';
  },
};

const isUuid = (text: string): boolean => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text);

/** A connection as admin to NATS_URL, or to what runs in DATA_DIR. */
async function connectBroker(config: Config): Promise<NatsConnection> {
  const { NATS_URL, NATS_SECRET } = findBroker(config);
  return await connectNats({ NATS_URL, NATS_SECRET }, 'admin', false);
}

async function mark(query: Database['query'], number: string | undefined, at: 'now()' | 'null'): Promise<string> {
  const [row] = await query<{ id: string }>(
    `update users set suspended_at = ${at} where number = $1 and deleted_at is null returning id`,
    [number ?? ''],
  );
  if (!row) throw new Error('no account has that number');
  return row.id;
}

/** With the address and the keys of what runs in DATA_DIR, where they are not given. */
function withEmbedded(config: Config): Config {
  let secrets: Secrets | undefined;
  const own = (): Secrets => {
    secrets ??= readSecrets(config.DATA_DIR);
    return secrets;
  };
  try {
    return {
      ...config,
      DATABASE_URL: config.DATABASE_URL ?? postgresUrl(join(config.DATA_DIR, 'postgres'), own()),
      PERSONAL_KEYS: config.PERSONAL_KEYS.length ? config.PERSONAL_KEYS : [own().personal],
      PERSONAL_INDEX_KEYS: config.PERSONAL_INDEX_KEYS.length ? config.PERSONAL_INDEX_KEYS : [own().personal_index],
    };
  } catch (cause) {
    if (cause instanceof UnusableSecretsError) throw cause;
    throw new Error(`nothing runs in ${config.DATA_DIR}: set DATA_DIR, or DATABASE_URL and the PERSONAL keys`, {
      cause,
    });
  }
}

/** Runs one command and returns what to print. @throws with what is wrong */
export async function admin(words: string[], given: Config): Promise<string> {
  const [name, argument] = words;
  if (name === undefined || name.startsWith('-')) return HELP;
  const derived = Object.hasOwn(DERIVED, name) ? DERIVED[name] : undefined;
  if (derived) return `${derived(given)}\n`;
  const onBroker = Object.hasOwn(ON_BROKER, name) ? ON_BROKER[name] : undefined;
  if (onBroker) {
    const nc = await connectBroker(given);
    try {
      return `${await onBroker(nc, words.slice(1))}\n`;
    } finally {
      await nc.close();
    }
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command) throw new Error(`${name}: no such command\n${HELP}`);
  const config = withEmbedded(given);
  const db = await openDatabase(config);
  try {
    return `${await command(db, config, argument)}\n`;
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
