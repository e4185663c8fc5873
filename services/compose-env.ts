/** `npm run --silent compose-env > .env`: prints the secrets that docker-compose.yml needs, other ones for each service. */
import { randomBytes } from 'node:crypto';
import { natsPassword } from '../nats/connect.ts';
import { adminToken, deriveKey } from '../shared/auth/derived.ts';
import { type Config, readConfig } from '../shared/config/index.ts';
import { rolePassword } from '../shared/db/roles.ts';
import { SERVICE_NAMES } from '../shared/service-names.ts';

const HELP = `npm run --silent compose-env > .env     (without Node: docker build -t sealwire . && docker run --rm sealwire node services/compose-env.ts > .env)

Prints the variables of docker-compose.yml with new secrets. Each service gets its own passwords of the broker and of the
database, derived from NATS_SECRET; NATS_SECRET itself is for conf and provision only. Variables that are set in the
environment (NATS_SECRET, POSTGRES_PASSWORD, PERSONAL_KEYS, PERSONAL_INDEX_KEYS, ADMIN_TOKEN, WEBHOOK_SECRETS_KEYS) are kept.
With a NATS_SECRET the last two default to the values that were derived from it before they had to be set, so that a running
system keeps its data. To renew the .env of a running system, export its variables, then print a new one.
`;

/** @returns the name of a service as it is written in names of variables. */
const inVariable = (service: string): string => service.toUpperCase().replaceAll('-', '_');

export function composeEnv(given: Pick<NodeJS.ProcessEnv, string>, config: Config): string {
  const key = (): string => randomBytes(32).toString('base64');
  const secret = config.NATS_SECRET ?? randomBytes(32).toString('hex');
  // A running system has encrypted with the key that was derived from its secret.
  const derived = (): string => deriveKey({ NATS_SECRET: secret }, 'WEBHOOK_SECRETS_KEYS').toString('base64');
  const lines = [
    '# For conf and provision.',
    `NATS_SECRET=${secret}`,
    '# For postgres and provision.',
    `POSTGRES_PASSWORD=${given.POSTGRES_PASSWORD || randomBytes(16).toString('hex')}`,
    "# For the api. Without the PERSONAL keys nobody's phone, email or name can be read again.",
    `PERSONAL_KEYS=${config.PERSONAL_KEYS.join(',') || key()}`,
    `PERSONAL_INDEX_KEYS=${config.PERSONAL_INDEX_KEYS.join(',') || key()}`,
    `ADMIN_TOKEN=${adminToken({ ADMIN_TOKEN: config.ADMIN_TOKEN, NATS_SECRET: secret })}`,
    '# For api and webhook.',
    `WEBHOOK_SECRETS_KEYS=${config.WEBHOOK_SECRETS_KEYS.join(',') || derived()}`,
    '# For each service.',
    ...SERVICE_NAMES.flatMap((service) => [
      `${inVariable(service)}_NATS_PASSWORD=${natsPassword(secret, service)}`,
      `${inVariable(service)}_DATABASE_PASSWORD=${rolePassword(secret, service)}`,
    ]),
  ];
  return `${lines.join('\n')}\n`;
}

if (import.meta.main) {
  const help = process.argv.includes('--help') || process.argv.includes('-h');
  // The image sets NODE_ENV=production, which would require the secrets that are made here.
  process.stdout.write(help ? HELP : composeEnv(process.env, readConfig({ ...process.env, NODE_ENV: undefined })));
}
