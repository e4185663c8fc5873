/** `npm run admin -- <command>`: what operators do to a running system. */
import { type Config, readConfig } from '../shared/config/index.ts';
import { paymentsSecretOf, tokenOf } from './embedded/admin-token.ts';

const HELP = `npm run --silent admin -- token             the service token that makes the others (POST /v1/admin/tokens)
npm run --silent admin -- payments-secret   what payment events are signed with, unless PAYMENTS_WEBHOOK_SECRET says

Of ADMIN_TOKEN or NATS_SECRET, or of what npm start runs in DATA_DIR.
`;

const COMMANDS: Record<string, (config: Config) => string> = { token: tokenOf, 'payments-secret': paymentsSecretOf };

/** Runs one command and returns what to print. @throws with what is wrong */
export function admin(words: string[], config: Config): string {
  const [name] = words;
  if (name === undefined || name.startsWith('-')) return HELP;
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command) throw new Error(`${name}: no such command\n${HELP}`);
  return `${command(config)}\n`;
}

if (import.meta.main) {
  try {
    process.stdout.write(admin(process.argv.slice(2), readConfig()));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
