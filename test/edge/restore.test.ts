/** Whether an inbox is empty is known only once fanout has written again what a restarted broker may have lost. */
import { jetstreamManager } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import test from 'ava';
import { beginGeneration, newestBase } from '../../nats/inbox/cursor-map.ts';
import { decodeCursorMap, encodeCursorMap } from '../../nats/inbox/cursor-map-store.ts';
import { encodeItem } from '../../nats/inbox/item.ts';
import { inboxStream, LINEAGE_BUCKET, subject } from '../../nats/topology.ts';
import { type Env, startEnv } from '../env/index.ts';
import { closeDevices, TestDevice } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
test.afterEach.always(() => env?.stop());

/** An edge that waits for fanout for so long. */
async function start(INBOX_RESTORE_WAIT_MS: number) {
  env = await startEnv({ INBOX_SHARDS: 1, INBOX_RESTORE_WAIT_MS });
  await say(false);
  const at = await env.start('api', 'edge');
  return await TestDevice.register(at);
}

/** The test plays fanout: it says what it knows of the shard. */
async function say(whole: boolean): Promise<void> {
  const nc = await env.nats('admin');
  const { created, state } = await (await jetstreamManager(nc)).streams.info(inboxStream(0));
  const bucket = await new Kvm(nc).open(LINEAGE_BUCKET);
  const stored = await bucket.get('0');
  const old = stored ? decodeCursorMap(stored.string()) : undefined;
  const lineage = old ?? beginGeneration(undefined, nc.info!.server_id, String(created), state.last_seq);
  await bucket.put('0', encodeCursorMap({ ...lineage, ...(whole ? { whole } : {}) }));
}

/** An item for all devices of that person, as fanout writes it. */
async function write(user_id: string): Promise<void> {
  const nc = await env.nats('admin');
  const lineage = decodeCursorMap((await (await new Kvm(nc).open(LINEAGE_BUCKET)).get('0'))!.string());
  const base = newestBase(lineage);
  const none = { device_id: '', conversation_id: '', message_id: '' };
  const head = { flags: 0, base, expires_at: 0, seq: 0, user_id, type: 'conversation.updated', ...none };
  nc.publish(subject.inbox(user_id, 'all', 1), encodeItem(head, [Buffer.from('"conversation":{}}')]));
}

test.serial('[M05] a device gets inbox.empty once the shard is restored, and live items before that', async (t) => {
  const phone = await start(600_000);
  await phone.device.connect();
  await write(phone.userId);
  await until(() => phone.frames.some(({ type }) => type === 'conversation.updated'));
  t.is(phone.emptyCount, 0, 'more items may still come');
  await say(true);
  await until(() => phone.emptyCount === 1);
  await closeDevices(phone);
});

test.serial('[M05] without word from fanout a device gets inbox.empty after INBOX_RESTORE_WAIT_MS', async (t) => {
  const wait = 1_000;
  const phone = await start(wait);
  const begun = Date.now();
  await phone.device.connect();
  await until(() => phone.emptyCount === 1);
  t.true(Date.now() - begun >= wait);
  await closeDevices(phone);
});
