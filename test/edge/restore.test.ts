/** Whether an inbox is empty is known only once fanout has written again what a restarted broker may have lost. */
import { setTimeout as delay } from 'node:timers/promises';
import { jetstreamManager } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import test from 'ava';
import { inboxStream, LINEAGE_BUCKET } from '../../nats/topology.ts';
import { beginLife } from '../../shared/pipeline/lineage.ts';
import { type Env, startEnv } from '../env/index.ts';
import { account, close, Phone, until } from './devices.ts';

const RESTORE_MS = 3_000;
let env: Env;
test.beforeEach(async () => {
  env = await startEnv({ INBOX_SHARDS: 1, INBOX_RESTORE_WAIT_MS: RESTORE_MS });
});
test.afterEach.always(() => env?.stop());

/** The test plays fanout: it says what it knows of the shard. */
async function say(whole: boolean): Promise<void> {
  const nc = await env.nats('admin');
  const { created, state } = await (await jetstreamManager(nc)).streams.info(inboxStream(0));
  const bucket = await new Kvm(nc).open(LINEAGE_BUCKET);
  const old = (await bucket.get('0'))?.json<ReturnType<typeof beginLife>>();
  const lineage = old ?? beginLife(undefined, nc.info!.server_id, String(created), state.last_seq);
  await bucket.put('0', JSON.stringify({ ...lineage, ...(whole ? { whole } : {}) }));
}

test.serial('[M05] a device hears inbox.empty once the shard is whole, and lives meanwhile', async (t) => {
  await say(false);
  const at = await env.start('api', 'edge');
  const phone = new Phone(await account(at), at.edgeUrl);
  const begun = Date.now();
  await phone.device.connect();
  await delay(500);
  t.is(phone.empties, 0, 'items may still come');
  t.true(phone.frames.some(({ type }) => type === 'connection.welcome'));
  await say(true);
  await until(() => phone.empties === 1);
  t.true(Date.now() - begun < RESTORE_MS);
  await close(phone);
});

test.serial('[M05] without word from fanout a device hears inbox.empty after INBOX_RESTORE_WAIT_MS', async (t) => {
  await say(false);
  const at = await env.start('api', 'edge');
  const phone = new Phone(await account(at), at.edgeUrl);
  const begun = Date.now();
  await phone.device.connect();
  await until(() => phone.empties === 1);
  t.true(Date.now() - begun >= RESTORE_MS);
  await close(phone);
});
