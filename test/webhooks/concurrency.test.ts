/** Endpoints beside many bad ones: whatever those do, the others are served. */
import test from 'ava';
import { Receiver } from './receiver.ts';
import { System } from './system.ts';

let system: System;
test.before(async () => {
  // Nothing that hangs ends within the tests.
  system = await System.start({ WEBHOOK_TIMEOUT_SEC: 120, WEBHOOK_CONCURRENCY: 8, WEBHOOK_ENDPOINT_CONCURRENCY: 4 });
});
test.after.always(() => system?.stop());

const poke = async (id: string): Promise<void> => {
  const { status } = await system.api.ask('webhooks.endpoints.test', { token: system.admin, id, body: {} });
  if (status !== 202) throw new Error(`test event: ${status}`);
};

/** Endpoints of that receiver, each with so many events waiting. */
async function many(receiver: Receiver, endpoints: number, events: number): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < endpoints; i++) {
    const { id } = await system.endpoint({ url: `${receiver.url}/${i}` });
    ids.push(id);
    for (let n = 0; n < events; n++) await poke(id);
  }
  return ids;
}

test.serial('[W07] many new endpoints that hang leave a quarter of the concurrency to the others', async (t) => {
  const hangs = await Receiver.start(() => {});
  const good = await Receiver.start();
  const { id } = await system.endpoint({ url: good.url });
  await system.send();
  await poke(id);
  await system.none(id);
  await many(hangs, 12, 2);
  await hangs.count(6);
  for (let n = 0; n < 20; n++) await poke(id);
  await good.count(21);
  await system.none(id);
  t.is(hangs.got.length, 6);
  t.is(new Set(hangs.got.map(({ path }) => path)).size, 6, 'one each');
  await system.pause();
  await Promise.all([hangs.stop(), good.stop()]);
  await system.env.db.query('update webhook_endpoints set enabled = false');
});

test.serial(
  '[W07] endpoints that failed leave half of the concurrency to the others, including new ones',
  async (t) => {
    let broken = true;
    const bad = await Receiver.start((_, response) => {
      if (broken) response.writeHead(500).end();
    });
    const good = await Receiver.start();
    const ids = await many(bad, 12, 1);
    await system.send();
    await system.until(async () => {
      const [row] = await system.env.db.query<{ n: number }>(
        'select count(*) as n from webhook_deliveries where endpoint_id = any($1) and attempts > 0',
        [ids],
      );
      return row!.n === ids.length;
    });
    broken = false;
    const failed = bad.got.length;
    for (const id of ids) await poke(id);
    await bad.count(failed + 4);
    const { id } = await system.endpoint({ url: good.url });
    for (let n = 0; n < 20; n++) await poke(id);
    await good.count(20);
    await system.none(id);
    t.is(bad.got.length, failed + 4);
    await system.pause();
    await Promise.all([bad.stop(), good.stop()]);
  },
);

test.serial('[W07] an endpoint whose secret cannot be decrypted fails alone, and the others are served', async (t) => {
  const receiver = await Receiver.start();
  const [shut, good] = [await system.endpoint({ url: receiver.url }), await system.endpoint({ url: receiver.url })];
  const { query } = system.env.db;
  await query(
    'update webhook_endpoints set secret_sealed = set_byte(secret_sealed, 1, 1 + get_byte(secret_sealed, 1) % 9) where id = $1',
    [shut.id],
  );
  // An old secret whose time is over, and its key gone.
  await query(`update webhook_endpoints set old_secret_sealed = '\\x00', old_secret_until = now() where id = $1`, [
    good.id,
  ]);
  for (const { id } of [shut, good]) await poke(id);
  await system.send();
  await receiver.count(1);
  await system.none(good.id);
  await system.until(async () => {
    const { data } = await system.api.ask('webhooks.attempts.list', { token: system.admin, id: shut.id });
    return data.items.length > 0;
  });
  const { data } = await system.api.ask('webhooks.attempts.list', { token: system.admin, id: shut.id });
  t.like(data.items[0], { outcome: 'failed', error: 'secret_unreadable' });
  t.is(receiver.got.length, 1);
  await system.pause();
  await receiver.stop();
});

test.serial('[W07] endpoints that hang or fail use only their own concurrency, and a rate limit is kept', async (t) => {
  await system.env.db.query('update webhook_endpoints set enabled = false');
  await system.send();
  const hangs = await Receiver.start(() => {});
  const fails = await Receiver.start((_, response) => void response.writeHead(500).end());
  const good = await Receiver.start();
  const slow = await Receiver.start();
  const { conversation, say } = await system.pair();
  const where = { conversation_id: conversation, event_types: ['chat.message.created' as const] };
  await system.endpoint({ url: hangs.url, ...where });
  const failing = await system.endpoint({ url: fails.url, ...where });
  await system.endpoint({ url: good.url, ...where });
  const paced = await system.endpoint({ url: slow.url, ...where, max_per_sec: 20 });
  for (let i = 0; i < 40; i++) await say();
  await good.count(40);
  t.is(hangs.got.length, 1, 'one at a time, and it still hangs');
  const attempts = async (id: string): Promise<{ event_id: string; at: number }[]> =>
    (
      await system.env.db.query<{ event_id: string; at: Date }>(
        'select event_id, at from webhook_attempts where endpoint_id = $1 order by at',
        [id],
      )
    ).map(({ event_id, at }) => ({ event_id, at: at.getTime() }));
  const last = new Map<string, number>();
  for (const { event_id, at } of await attempts(failing.id)) {
    t.true(at - (last.get(event_id) ?? 0) >= 5_000, 'what fails waits for its retry');
    last.set(event_id, at);
  }
  await slow.count(40);
  await system.none(paced.id);
  // When they began; when they arrive is a matter of the machine.
  const times = (await attempts(paced.id)).map(({ at }) => at);
  t.is(times.length, 40);
  for (const [i, at] of times.entries()) {
    const within = times.filter((other) => other >= at && other < at + 1_000).length;
    t.true(within <= 24, `${within} within a second from the ${i}th`);
  }
  t.true(good.dialled <= 8 && slow.dialled <= 8, 'connections are kept');
  await system.pause();
  await Promise.all([hangs, fails, good, slow].map((one) => one.stop()));
});
