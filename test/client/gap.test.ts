/** What the broker has lost, on the real system: told, and made good from history. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { HpkeCrypto } from '../../client/index.ts';
import { inboxStream } from '../../nats/topology.ts';
import { shardOf } from '../../shared/ids.ts';
import { startEnv } from '../env/index.ts';
import { createListener, registerPerson } from '../env/people.ts';

test('[M06] [H01] items that the inbox lost while a device was away are announced and fetched from history, once and in order', async (t) => {
  const env = await startEnv({ AWAY_GRACE_MS: 0 });
  const { apiUrl } = await env.start('api', 'ingest', 'fanout', 'history');
  const at = { apiUrl, edgeUrl: (await env.start('edge')).edgeUrl };
  const [anna, ben] = [await registerPerson(at), await registerPerson(at)];
  const keys = await HpkeCrypto.generate();
  const phone = createListener(anna, at, { crypto: await HpkeCrypto.generate() });
  const laptop = createListener(ben, at, { crypto: keys });
  await Promise.all([phone.device.connect(), laptop.device.connect()]);
  const user_id = ben.user.id;
  await phone.device.send({ to: { user_id }, plaintext: 'before' });
  await laptop.waitForTexts(1);
  await laptop.device.close();
  const lost = Array.from({ length: 250 }, (_, i) => `lost ${i}`);
  await Promise.all(lost.map((plaintext) => phone.device.send({ to: { user_id }, plaintext })));
  await env.settle();

  const jsm = await jetstreamManager(await env.nats('admin'));
  await jsm.streams.purge(inboxStream(shardOf(user_id, env.config.INBOX_SHARDS)));
  await phone.device.send({ to: { user_id }, plaintext: 'after' });
  await env.settle();

  const back = createListener(ben, at, { crypto: keys });
  const resynced: boolean[] = [];
  back.device.on('message', ({ resync }) => {
    resynced.push(resync);
  });
  const [gap] = await Promise.all([back.device.next('gap'), back.device.connect()]);
  t.is(gap.reason, 'retention');
  // Without a Store this device does not know what it had, so it is given everything it may read.
  t.deepEqual(await back.waitForTexts(lost.length + 2), ['before', ...lost, 'after']);
  t.true(resynced.every(Boolean));
  await phone.device.send({ to: { user_id }, plaintext: 'live' });
  t.is((await back.waitForTexts(lost.length + 3)).at(-1), 'live');
  await Promise.all([phone.device.close(), back.device.close()]);
  await env.stop();
});
