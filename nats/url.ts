/** `npm run --silent nats-url`: the broker's address with a user's password, for the `nats` CLI. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Config, readConfig } from '../shared/config/index.ts';
import { natsPassword } from './connect.ts';

/** Of NATS_URL and NATS_SECRET, or of what `npm start` runs in DATA_DIR. */
export function natsUrl(config: Config, user: string): string {
  const { url, secret } = config.NATS_URL
    ? { url: config.NATS_URL.split(',')[0]!, secret: config.NATS_SECRET }
    : embedded(config.DATA_DIR);
  if (!secret) throw new Error('NATS_SECRET is not set');
  const full = new URL(url);
  full.username = user;
  full.password = natsPassword(secret, user);
  return full.href;
}

function embedded(dir: string): { url: string; secret: string } {
  try {
    const ports = readdirSync(join(dir, 'nats')).find((name) => name.endsWith('.ports'))!;
    const { nats } = JSON.parse(readFileSync(join(dir, 'nats', ports), 'utf8')) as { nats: string[] };
    const secrets = JSON.parse(readFileSync(join(dir, 'secrets.json'), 'utf8')) as { nats: string };
    return { url: nats[0]!, secret: secrets.nats };
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
