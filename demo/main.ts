/** `npm run demo`: the main job told on the terminal, on real engines. */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LocalSystem, startLocalSystem } from '../services/local/local-system.ts';
import { guardTemporaryDir } from '../services/local/watchdog.ts';
import { tell } from './story.ts';
import { aside, chapter } from './terminal.ts';

const HELP = `npm run demo             two people, three devices, sealed messages; one device away and back (under 20 s)
npm run demo -- --stay   the same, then keeps everything running until Ctrl-C, to look around
npm run demo -- --help   this

It starts its own nats-server and Postgres in a temporary directory, on free ports, and removes all of it at the end.
DURABILITY=fast leaves out the fsync before each acknowledgement.
`;

async function demo(stay: boolean): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'sealwire-demo-'));
  // The unprivileged user as whom Postgres runs must be able to walk through.
  chmodSync(dir, 0o711);
  guardTemporaryDir(dir);
  let tree: LocalSystem | undefined;
  const end = async (): Promise<void> => {
    await tree?.close();
    guardTemporaryDir(undefined);
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  };
  const interrupted = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  try {
    chapter('Starting a broker, a database and all services');
    tree = await startLocalSystem({
      env: {
        DATA_DIR: dir,
        PORT: '0',
        EDGE_PORT: '0',
        NATS_URL: undefined,
        DATABASE_URL: undefined,
        // A device that left gets its durable consumer soon enough to be watched.
        AWAY_GRACE_MS: '300',
      },
      onProgress: aside,
      log: join(dir, 'services.log'),
    });
    const failed = tree.failed.then((reason) => Promise.reject(new Error(reason)));
    const over = Symbol('interrupted');
    const told = await Promise.race([tell(tree, randomBytes(4).toString('hex')), failed, interrupted.then(() => over)]);
    if (stay && told !== over) {
      aside('everything stays up; Ctrl-C ends it');
      await Promise.race([interrupted, failed]);
    }
  } finally {
    await end();
  }
}

const words = process.argv.slice(2);
if (words.includes('--help') || words.includes('-h')) process.stdout.write(HELP);
else {
  try {
    await demo(words.includes('--stay'));
    process.exit(0);
  } catch (error) {
    process.stderr.write(`demo: ${(error as Error).message}\n`);
    process.exit(1);
  }
}
