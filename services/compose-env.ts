/** `npm run --silent compose-env > .env`: everything secret that docker-compose.yml wants, each service with its own. */
import { randomBytes } from 'node:crypto';
import { natsPassword } from '../nats/connect.ts';
import { adminToken, derivedKey } from '../shared/auth/derived.ts';
import { type Config, readConfig } from '../shared/config/index.ts';
import { rolePassword } from '../shared/db/roles.ts';
import { SERVICE_NAMES } from '../shared/service-names.ts';

const HELP = `npm run --silent compose-env > .env     (without Node: docker build -t sealwire . && docker run --rm sealwire node services/compose-env.ts > .env)

Prints the variables of docker-compose.yml with new secrets. A service gets its own password of the broker and of the
database, which follow from NATS_SECRET; NATS_SECRET itself goes to conf and provision only. What is set in the environment
(NATS_SECRET, POSTGRES_PASSWORD, PERSONAL_KEYS, PERSONAL_INDEX_KEYS, ADMIN_TOKEN, WEBHOOK_SECRETS_KEYS) is kept, and with a NATS_SECRET
the last two are what followed from it before they had to be set: so a system that runs keeps its data. Export what its .env
has, then print a new one.
`;

/** Name of a service in the names of variables. */
const upper = (service: string): string => service.toUpperCase().replaceAll('-', '_');

export function composeEnv(given: Pick<NodeJS.ProcessEnv, string>, config: Config): string {
  const key = (): string => randomBytes(32).toString('base64');
  const secret = config.NATS_SECRET ?? randomBytes(32).toString('hex');
  // A system that runs has used what follows from its secret.
  const follows = (): string => derivedKey({ NATS_SECRET: secret }, 'WEBHOOK_SECRETS_KEYS').toString('base64');
  const lines = [
    '# Of conf and provision.',
    `NATS_SECRET=${secret}`,
    '# Of postgres and provision.',
    `POSTGRES_PASSWORD=${given.POSTGRES_PASSWORD || randomBytes(16).toString('hex')}`,
    "# Of the api. Without the PERSONAL keys nobody's phone, email or name can be read again.",
    `PERSONAL_KEYS=${config.PERSONAL_KEYS.join(',') || key()}`,
    `PERSONAL_INDEX_KEYS=${config.PERSONAL_INDEX_KEYS.join(',') || key()}`,
    `ADMIN_TOKEN=${adminToken({ ADMIN_TOKEN: config.ADMIN_TOKEN, NATS_SECRET: secret })}`,
    '# Of api and webhook.',
    `WEBHOOK_SECRETS_KEYS=${config.WEBHOOK_SECRETS_KEYS.join(',') || follows()}`,
    '# Of each service.',
    ...SERVICE_NAMES.flatMap((service) => [
      `${upper(service)}_NATS_PASSWORD=${natsPassword(secret, service)}`,
      `${upper(service)}_DATABASE_PASSWORD=${rolePassword(secret, service)}`,
    ]),
  ];
  return `${lines.join('\n')}\n`;
}

if (import.meta.main) {
  const help = process.argv.includes('--help') || process.argv.includes('-h');
  // The image sets NODE_ENV=production, which would ask for what is being made here.
  process.stdout.write(help ? HELP : composeEnv(process.env, readConfig({ ...process.env, NODE_ENV: undefined })));
}
