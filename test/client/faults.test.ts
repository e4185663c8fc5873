/** The client library while the system around it breaks. */
import test from 'ava';
import { HpkeCrypto } from '../../client/index.ts';
import { type Env, startEnv } from '../env/index.ts';
import { createListener, registerPerson } from '../env/people.ts';

let env: Env;
test.before(async () => {
  env = await startEnv();
});
test.after.always(() => env?.stop());

test('[M05] [R01] two people who talk while edge and workers are killed get every message once and in order', async (t) => {
  const [edge, rest] = await Promise.all([env.spawn('edge'), env.spawn(['api', 'ingest', 'fanout', 'history'])]);
  const at = { apiUrl: rest.apiUrl, edgeUrl: edge.edgeUrl };
  const [anna, ben] = [await registerPerson(at), await registerPerson(at)];
  const settings = { backoff_base_ms: 50, backoff_cap_ms: 500, silence_ms: 1_000 };
  const phone = createListener(anna, at, { crypto: await HpkeCrypto.generate(), settings });
  const laptop = createListener(ben, at, { crypto: await HpkeCrypto.generate(), settings });
  await Promise.all([phone.device.connect(), laptop.device.connect()]);
  const { conversation_id } = await phone.device.send({ to: { user_id: ben.user.id }, plaintext: '0' });

  const texts = Array.from({ length: 200 }, (_, i) => String(i + 1));
  const sends: Promise<{ seq: number }>[] = [];
  for (const [i, plaintext] of texts.entries()) {
    sends.push(phone.device.send({ conversation_id, plaintext }));
    if (i === 50) void edge.kill9().then(() => edge.restart());
    if (i === 120) void rest.kill9().then(() => rest.restart());
    if (i % 10 === 0) await laptop.waitForTexts(Math.floor(i / 4));
  }
  const seqs = (await Promise.all(sends)).map(({ seq }) => seq);
  t.deepEqual(
    seqs,
    texts.map((_, i) => i + 2),
  );
  t.deepEqual(await laptop.waitForTexts(texts.length + 1), ['0', ...texts]);
  await Promise.all([phone.device.close(), laptop.device.close()]);
});
