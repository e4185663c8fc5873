/** The local engines keep ports and data, and refuse what they cannot use. */
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { lockDataDir } from '../../services/local/data-dir-lock.ts';
import { startNats } from '../../services/local/nats.ts';
import { findNatsBinary } from '../../services/local/nats-binary.ts';
import { openSecrets } from '../../services/local/secrets.ts';
import { type Env, startEnv } from '../env/index.ts';

let env: Env;
test.before(async () => {
  env = await startEnv({ DURABILITY: 'durable' });
});
test.after.always(() => env?.stop());

test.serial('[O01] the broker keeps its port and its streams over SIGKILL and restart', async (t) => {
  const { url, pid } = env.broker;
  const publish = async (text: string): Promise<number> => {
    const nc = await env.nats('admin');
    return (await jetstream(nc).publish('dead.test', text)).seq;
  };
  const first = await publish('one');
  await env.broker.kill9();
  await env.broker.restart();
  t.is(env.broker.url, url);
  t.not(env.broker.pid, pid);
  t.is(await publish('two'), first + 1);
  const jsm = await jetstreamManager(await env.nats('admin'));
  t.is((await jsm.streams.info('DEAD')).state.messages, 2);
});

test.serial('[O01] a connection to the broker comes back by itself', async (t) => {
  const nc = await env.nats('edge');
  const back = (async () => {
    for await (const status of nc.status()) if (status.type === 'reconnect') return true;
    return false;
  })();
  await env.broker.kill9();
  await env.broker.restart();
  t.true(await back);
});

test.serial('[O01] the database keeps its port and its rows over SIGKILL and restart', async (t) => {
  const { url } = env.postgres;
  await env.db.query('create table kept (n int)');
  await env.db.query('insert into kept values (1)');
  await env.postgres.kill9();
  await env.postgres.restart();
  t.is(env.postgres.url, url);
  t.deepEqual(await env.db.query('select n from kept'), [{ n: 1 }]);
  t.deepEqual(await env.db.query("select current_setting('fsync') as fsync"), [{ fsync: 'on' }]);
});

test.serial('[O01] secrets are readable by the owner only', (t) => {
  for (const file of ['secrets.json', 'nats/nats.conf']) t.is(statSync(join(env.dir, file)).mode & 0o777, 0o600, file);
  t.deepEqual(
    readdirSync(join(env.dir, 'postgres')).filter((name) => name.includes('password')),
    [],
  );
});

test('[O01] a data directory has one owner, and the lock of a dead process is taken over', (t) => {
  const dir = join(env.dir, 'locked');
  const unlock = lockDataDir(dir);
  t.throws(() => lockDataDir(dir), { message: new RegExp(`in use by process ${process.pid}`) });
  unlock();
  writeFileSync(join(dir, 'lock'), '4194303 long-ago\n');
  lockDataDir(dir)();
  // The process id exists, but belongs to another process.
  writeFileSync(join(dir, 'lock'), `${process.pid} long-ago\n`);
  lockDataDir(dir)();
  t.deepEqual(readdirSync(dir), []);
});

test('[O01] an unusable nats-server is refused with what to do', (t) => {
  t.throws(() => findNatsBinary('/nowhere/nats-server'), { message: /NATS_SERVER_BIN=.* does not run/ });
  const old = join(env.dir, 'old-nats-server');
  writeFileSync(old, '#!/bin/sh\necho "nats-server: v2.10.4"\n', { mode: 0o755 });
  t.throws(() => findNatsBinary(old), { message: /2\.14 or newer is needed/ });
});

test('[O01] a broker that cannot start says why', async (t) => {
  const dir = join(env.dir, 'broken');
  mkdirSync(dir);
  writeFileSync(join(dir, 'jetstream'), 'a file where a directory must be');
  await t.throwsAsync(startNats({ config: env.config, dir, secrets: openSecrets(dir) }), {
    message: /did not start: it ended.*storage directory is not a directory/s,
  });
});
