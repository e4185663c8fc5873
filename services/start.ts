/** `npm start`: without names everything on this machine, with names only these services in this process. */

import { SERVICE_NAMES } from '../shared/service-names.ts';
import { startAll } from './local/process-tree.ts';
import { serve, serviceNames } from './main.ts';

const HELP = `npm start                  nats-server, Postgres and all services on this machine, in DATA_DIR (./data)
npm start -- edge ingest   only these services, in one process, against NATS_URL, NATS_SECRET and DATABASE_URL
npm start -- --help        this

Services: ${SERVICE_NAMES.join(', ')}; all is every one of them.
Often set: DATA_DIR, HOST, PORT, EDGE_PORT (0: any free port), DURABILITY (durable or fast), LOG_LEVEL.
NATS_URL and DATABASE_URL replace the embedded engines. docs/configuration.md lists every variable.
Ctrl-C stops everything in order.
`;

async function everything(): Promise<void> {
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  let stopping = false;
  let tree: Awaited<ReturnType<typeof startAll>> | undefined;
  const starting = startAll({ say });
  const stop = async (): Promise<void> => {
    if (stopping) return;
    stopping = true;
    say('stopping');
    // While it is still starting, wait for what there is to stop.
    await (tree ?? (await starting.catch(() => undefined)))?.stop();
    say('stopped');
    process.exit(0);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void stop());
  tree = await starting;
  if (stopping) return;
  const { addresses } = tree;
  say('');
  say(`api      ${addresses.api}`);
  say(`edge     ${addresses.edge}`);
  say(`nats     ${addresses.nats}`);
  say(`postgres ${addresses.postgres}`);
  for (const { name, url } of tree.ops) say(`ops      ${url}  ${name}`);
  say('ready, Ctrl-C stops it');
  const reason = await tree.failed;
  if (stopping) return;
  throw new Error(`stopped: ${reason}`);
}

try {
  const words = process.argv.slice(2);
  if (words.includes('--help') || words.includes('-h')) process.stdout.write(HELP);
  else if (words.length) await serve(serviceNames(words));
  else await everything();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exit(1);
}
