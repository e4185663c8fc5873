import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { connectNats } from '../../nats/connect.ts';
import { openSecrets } from '../../services/local/secrets.ts';
import { waitFor } from '../../shared/async/wait-for.ts';
import { descendants, readyStatus, StartProcess } from '../env/start.ts';

const root = mkdtempSync(join(tmpdir(), 'sealwire-start-'));
chmodSync(root, 0o711);
const started: StartProcess[] = [];
const start = (name: string, env: Record<string, string> = {}): StartProcess => {
  const one = new StartProcess(join(root, name), env);
  started.push(one);
  return one;
};
test.after.always(async () => {
  for (const one of started) await one.stop();
  rmSync(root, { recursive: true, force: true, maxRetries: 5 });
});
const gone = (pids: number[]): Promise<true> =>
  waitFor(async () => {
    const left = pids.filter((pid) => existsSync(`/proc/${pid}`));
    if (left.length) throw new Error(`still there: ${left.join(', ')}`);
    return true as const;
  }, 90_000);

/** Waits for it; the error says what was waited for, and what was printed. */
const eventually = (is: () => boolean | Promise<boolean>, what: string, one: StartProcess): Promise<true> =>
  waitFor(async () => {
    if (await is()) return true as const;
    throw new Error(`not: ${what}\n${one.output}`);
  }, 90_000);

/** How many dead letters there are, after one more where `text` is given. */
async function deadLetters(one: StartProcess, text?: string): Promise<number> {
  const config = { NATS_URL: one.addresses.nats, NATS_SECRET: openSecrets(one.dataDir).nats };
  const nc = await connectNats(config, 'admin');
  try {
    if (text) await jetstream(nc).publish('dead.test', text);
    return (await (await jetstreamManager(nc)).streams.info('DEAD')).state.messages;
  } finally {
    await nc.close();
  }
}

test.serial(
  '[O01] npm start runs everything and prints the addresses, Ctrl-C stops it, and state survives',
  async (t) => {
    const one = start('a');
    const addresses = await one.waitUntilReady();
    t.regex(addresses.api!, /^http:\/\/127\.0\.0\.1:\d+$/);
    t.regex(addresses.edge!, /^ws:\/\/127\.0\.0\.1:\d+\/v1\/ws$/);
    t.notRegex(one.output, /:[^:/@\s]+@/, 'no password is printed');
    t.is(await readyStatus(addresses.api!), 200);
    t.is(await readyStatus(addresses.edge!.replace(/^ws/, 'http')), 200);
    const pids = descendants(one.pid);
    t.true(pids.length >= 5);

    const second = start('a');
    t.is(await second.waitForExit(), 1);
    t.regex(second.output, new RegExp(`in use by process ${one.pid}`));

    t.is(await deadLetters(one, 'kept'), 1);
    one.kill('SIGINT');
    t.is(await one.waitForExit(), 0);
    await gone(pids);

    const again = start('a');
    await again.waitUntilReady();
    t.is(await deadLetters(again), 1);
    t.regex(again.output, /the schema is up to date/);
    again.kill('SIGTERM');
    t.is(await again.waitForExit(), 0);
  },
);

test.serial(
  '[O01] two systems run side by side, a killed child comes back, and SIGKILL leaves no orphan',
  async (t) => {
    const [one, two] = [start('b'), start('c')];
    const [addresses] = await Promise.all([one.waitUntilReady(), two.waitUntilReady()]);
    for (const child of ['nats-server', 'bin/postgres', 'main.ts edge', 'main.ts api']) {
      const [pid] = descendants(one.pid, child);
      process.kill(pid!, 'SIGKILL');
      await eventually(() => descendants(one.pid, child).some((now) => now !== pid), `${child} is there again`, one);
      for (const url of [addresses.api!, addresses.edge!.replace(/^ws/, 'http')]) {
        const what = `${url} ready after ${child} was killed`;
        await eventually(async () => (await readyStatus(url)) === 200, what, one);
      }
    }
    t.is(await readyStatus(two.addresses.api!), 200);
    const pids = [...descendants(one.pid), ...descendants(two.pid)];
    one.kill('SIGKILL');
    two.kill('SIGKILL');
    await Promise.all([one.waitForExit(), two.waitForExit()]);
    await gone(pids);
    const back = start('b');
    await back.waitUntilReady();
    back.kill('SIGTERM');
    t.is(await back.waitForExit(), 0);
  },
);

test.serial('[O01] a child that dies again and again stops the whole tree with the reason', async (t) => {
  const one = start('d');
  await one.waitUntilReady();
  const pids = descendants(one.pid);
  const last = waitFor(async () => {
    for (const pid of descendants(one.pid, 'main.ts edge')) process.kill(pid, 'SIGKILL');
    return one.ended ? true : undefined;
  }, 120_000);
  t.is(await one.waitForExit(), 1);
  await last;
  t.regex(one.output, /stopped: edge failed 5 times within a minute; the last time: .*SIGKILL/);
  await gone(pids);
});

test('[O01] the command line explains itself and refuses unknown arguments', async (t) => {
  const help = start('e', {});
  help.run(['--help']);
  t.is(await help.waitForExit(), 0);
  t.regex(help.output, /npm start -- edge ingest/);
  const wrong = start('e', {});
  wrong.run(['egde']);
  t.is(await wrong.waitForExit(), 1);
  t.regex(wrong.output, /egde: no such service/);
  const bad = start('e', { PORT: 'many' });
  t.is(await bad.waitForExit(), 1);
  t.regex(bad.output, /PORT must be a whole number/);
});
