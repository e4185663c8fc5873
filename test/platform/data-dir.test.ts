/** DATA_DIR has one owner, and its secrets are on disk before anything uses them. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { admin } from '../../services/admin.ts';
import { lockDataDir } from '../../services/local/data-dir-lock.ts';
import { openSecrets } from '../../services/local/secrets.ts';
import { waitFor } from '../../shared/async/wait-for.ts';
import { readConfig } from '../../shared/config/index.ts';

const root = mkdtempSync(join(tmpdir(), 'sealwire-data-dir-'));
test.after.always(() => rmSync(root, { recursive: true, force: true }));
const fresh = (): string => mkdtempSync(join(root, 'dir-'));

/** Contents that a power cut or a mistaken edit leaves, with the words of the error. */
const TORN: Record<string, string> = {
  '': 'is empty',
  '\0\0\0\0': 'is not valid JSON',
  '{"broker":"b","nats":"n","pos': 'is not valid JSON',
  '["b"]': 'is not a JSON object',
  '{"broker":"b","nats":"n"}': 'has no usable postgres',
  '{"broker":"b","nats":"","postgres":"p"}': 'has no usable nats',
};

for (const [content, what] of Object.entries(TORN)) {
  test(`[O01] secrets.json with the content ${JSON.stringify(content)} is refused with what to do`, (t) => {
    const dir = fresh();
    const file = join(dir, 'secrets.json');
    writeFileSync(file, content);
    const unused = t.throws(() => openSecrets(dir))!.message;
    t.true(unused.startsWith(file) && unused.includes(what), unused);
    t.true(unused.endsWith('holds no data yet: remove the file and start again.'), unused);
    mkdirSync(join(dir, 'nats', 'jetstream'), { recursive: true });
    const used = t.throws(() => openSecrets(dir))!.message;
    t.true(used.includes(what) && used.endsWith('restore the file from a backup.'), used);
    t.is(readFileSync(file, 'utf8'), content, 'the file is left as it was');
  });
}

test('[O01] secrets are created only where no data exists', (t) => {
  const empty = fresh();
  const secrets = openSecrets(empty);
  t.deepEqual(openSecrets(empty), secrets);
  t.is(statSync(join(empty, 'secrets.json')).mode & 0o777, 0o600);
  t.deepEqual(readdirSync(empty), ['secrets.json']);
  for (const [folder, file] of [
    ['nats/jetstream', 'x'],
    ['postgres/data', 'PG_VERSION'],
  ] as const) {
    const dir = fresh();
    mkdirSync(join(dir, folder), { recursive: true });
    writeFileSync(join(dir, folder, file), '');
    t.throws(() => openSecrets(dir), { message: /secrets\.json is missing\. .*restore the file from a backup/ });
    t.false(readdirSync(dir).includes('secrets.json'));
  }
  // The cluster lies in another folder, see postgres-installation.ts.
  const [dir, home] = [fresh(), fresh()];
  mkdirSync(join(dir, 'postgres'));
  mkdirSync(join(home, 'data'));
  writeFileSync(join(dir, 'postgres', 'elsewhere'), `${home}\n`);
  writeFileSync(join(home, 'data', 'PG_VERSION'), '18\n');
  t.throws(() => openSecrets(dir), { message: /is missing/ });
});

test('[O01] admin commands report a torn secrets.json', async (t) => {
  const dir = fresh();
  writeFileSync(join(dir, 'secrets.json'), '');
  const config = readConfig({ DATA_DIR: dir });
  for (const command of ['rotate-keys', 'token', 'payments-secret'])
    await t.throwsAsync(admin([command], config), { message: /secrets\.json is empty/ }, command);
});

test('[O01] a killed process that nobody has reaped does not hold the lock', async (t) => {
  const dir = fresh();
  // The shell kills its child and does not reap it while it reads, so the child stays a zombie.
  const shell = spawn('/bin/sh', ['-c', 'sleep 600 & echo $!; kill -9 $!; read -r line'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  try {
    const pid = Number(await new Promise<Buffer>((resolve) => shell.stdout.once('data', resolve)));
    const fields = (): string[] => {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    };
    await waitFor(async () => (fields()[0] === 'Z' ? true : undefined), 30_000);
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
    writeFileSync(join(dir, 'lock'), `${pid} ${boot}-${fields()[19]}\n`);
    const unlock = lockDataDir(dir);
    t.true(readFileSync(join(dir, 'lock'), 'utf8').startsWith(`${process.pid} `));
    unlock();
    t.is(fields()[0], 'Z', 'it still was a zombie');
  } finally {
    shell.stdin.end();
    await new Promise((resolve) => shell.once('exit', resolve));
  }
});
