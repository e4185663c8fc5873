/** Runs `npm run demo`: starts the whole system in a temporary directory and shows on the terminal what it does. */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LocalSystem, startLocalSystem } from '../services/local/local-system.ts';
import { guardTemporaryDir } from '../services/local/watchdog.ts';
import { playStory } from './story.ts';
import { printAside, printChapter } from './terminal.ts';

const HELP = `npm run demo             two people with three devices exchange sealed messages; one device goes offline and returns (under 20 s)
npm run demo -- --stay   the same, then keeps everything running until Ctrl-C, for you to look around
npm run demo -- --help   prints this text

The demo starts its own nats-server and Postgres in a temporary directory, on free ports, and removes everything at the end.
With DURABILITY=fast the servers acknowledge without waiting for the fsync.
`;

async function runDemo(stay: boolean): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'sealwire-demo-'));
  // Postgres runs as an unprivileged user, who must be able to traverse the directory.
  chmodSync(dir, 0o711);
  guardTemporaryDir(dir);
  let localSystem: LocalSystem | undefined;
  const cleanUp = async (): Promise<void> => {
    await localSystem?.close();
    guardTemporaryDir(undefined);
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  };
  const interrupted = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  try {
    printChapter('Starting a broker, a database and all services');
    localSystem = await startLocalSystem({
      env: {
        DATA_DIR: dir,
        PORT: '0',
        EDGE_PORT: '0',
        NATS_URL: undefined,
        DATABASE_URL: undefined,
        // A device that has left gets its durable consumer soon enough for the demo to show it.
        AWAY_GRACE_MS: '300',
      },
      onProgress: printAside,
      log: join(dir, 'services.log'),
    });
    const failed = localSystem.failed.then((reason) => Promise.reject(new Error(reason)));
    const INTERRUPTED = Symbol('interrupted');
    const outcome = await Promise.race([
      playStory(localSystem, randomBytes(4).toString('hex')),
      failed,
      interrupted.then(() => INTERRUPTED),
    ]);
    if (stay && outcome !== INTERRUPTED) {
      printAside('everything keeps running; press Ctrl-C to end it');
      await Promise.race([interrupted, failed]);
    }
  } finally {
    await cleanUp();
  }
}

const words = process.argv.slice(2);
if (words.includes('--help') || words.includes('-h')) process.stdout.write(HELP);
else {
  try {
    await runDemo(words.includes('--stay'));
    process.exit(0);
  } catch (error) {
    process.stderr.write(`demo: ${(error as Error).message}\n`);
    process.exit(1);
  }
}
