/** Prints the broker's address with a user's password, for the `nats` CLI: `npm run --silent nats-url`. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Config, readConfig } from '../shared/config/index.ts';
import { natsPassword } from './connect.ts';

/** Returns the address from NATS_URL and NATS_SECRET, or of the broker that `npm start` runs in DATA_DIR. */
function natsUrl(config: Config, user: string): string {
  const { NATS_URL, NATS_SECRET } = findBroker(config);
  const full = new URL(NATS_URL.split(',')[0]!);
  full.username = user;
  full.password = natsPassword(NATS_SECRET, user);
  return full.href;
}

/** Finds the broker and the secret of its passwords. @throws where neither NATS_URL nor DATA_DIR leads to one */
export function findBroker(config: Config): { NATS_URL: string; NATS_SECRET: string } {
  const { NATS_URL, NATS_SECRET } = config.NATS_URL ? config : readEmbedded(config.DATA_DIR);
  if (!NATS_URL || !NATS_SECRET) throw new Error('NATS_SECRET is not set');
  return { NATS_URL, NATS_SECRET };
}

function readEmbedded(dir: string): { NATS_URL: string; NATS_SECRET: string } {
  try {
    const ports = readdirSync(join(dir, 'nats')).find((name) => name.endsWith('.ports'))!;
    const { nats } = JSON.parse(readFileSync(join(dir, 'nats', ports), 'utf8')) as { nats: string[] };
    const secrets = JSON.parse(readFileSync(join(dir, 'secrets.json'), 'utf8')) as { nats: string };
    return { NATS_URL: nats[0]!, NATS_SECRET: secrets.nats };
  } catch {
    throw new Error(`nothing runs in ${dir}: set DATA_DIR, or NATS_URL and NATS_SECRET`);
  }
}

if (import.meta.main) {
  const [user = 'admin'] = process.argv.slice(2);
  try {
    if (user.startsWith('-'))
      process.stdout.write('npm run --silent nats-url [-- <user>]   admin unless named; sys reads the server\n');
    else process.stdout.write(`${natsUrl(readConfig(), user)}\n`);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
