/** `npm start`: without arguments everything on this machine; with names of services only these, in this process. */
import { SERVICE_LINES } from '../shared/service-names.ts';
import { startLocalSystem } from './local/local-system.ts';
import { parseServiceNames, serveUntilSignal } from './main.ts';

const HELP = `npm start                  run nats-server, Postgres and all services on this machine, with their data in DATA_DIR (./data)
npm start -- edge ingest   run only these services, in one process, with NATS_URL, NATS_SECRET and DATABASE_URL
npm start -- --help        print this text

Services (all for every one of them):
  ${SERVICE_LINES.join('\n  ')}

Often set: DATA_DIR, HOST, PORT, EDGE_PORT (0: any free port), DURABILITY (durable or fast), LOG_LEVEL.
Where NATS_URL or DATABASE_URL is set, that engine is used, and none is started. docs/configuration.md lists all variables.
Ctrl-C stops everything in order.
`;

const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function runEverything(): Promise<void> {
  let closing = false;
  let system: Awaited<ReturnType<typeof startLocalSystem>> | undefined;
  const starting = startLocalSystem({ onProgress: print });
  const close = async (): Promise<void> => {
    if (closing) return;
    closing = true;
    print('stopping');
    // During the start, what has been started is known only after it.
    await (system ?? (await starting.catch(() => undefined)))?.close();
    print('stopped');
    process.exit(0);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void close());
  system = await starting;
  if (closing) return;
  const { addresses } = system;
  print('');
  for (const name of ['api', 'edge', 'nats', 'postgres']) print(`${name.padEnd(8)} ${addresses[name]}`);
  for (const { name, url } of system.ops) print(`ops      ${url}  ${name}`);
  print('ready, Ctrl-C stops it');
  const reason = await system.failed;
  if (closing) return;
  throw new Error(`stopped: ${reason}`);
}

try {
  const words = process.argv.slice(2);
  if (words.includes('--help') || words.includes('-h')) process.stdout.write(HELP);
  else if (words.length) await serveUntilSignal(parseServiceNames(words));
  else await runEverything();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exit(1);
}
