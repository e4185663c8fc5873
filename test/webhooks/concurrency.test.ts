/** Endpoints beside many bad ones: whatever those do, the others are served. */
import test from 'ava';
import { Receiver } from './receiver.ts';
import { WebhookSystem } from './system.ts';

let system: WebhookSystem;
test.before(async () => {
  // Nothing that hangs ends within the tests.
  system = await WebhookSystem.start({
    WEBHOOK_TIMEOUT_SEC: 120,
    WEBHOOK_CONCURRENCY: 8,
    WEBHOOK_ENDPOINT_CONCURRENCY: 4,
  });
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
    const { id } = await system.createEndpoint({ url: `${receiver.url}/${i}` });
    ids.push(id);
    for (let n = 0; n < events; n++) await poke(id);
  }
  return ids;
}

test.serial('[W07] many new endpoints that hang leave a quarter of the concurrency to the others', async (t) => {
  const hangs = await Receiver.start(() => {});
  const good = await Receiver.start();
  const { id } = await system.createEndpoint({ url: good.url });
  await system.startSender();
  await poke(id);
  await system.waitUntilNone(id);
  await many(hangs, 12, 2);
  await hangs.waitForCount(6);
  for (let n = 0; n < 20; n++) await poke(id);
  await good.waitForCount(21);
  await system.waitUntilNone(id);
  t.is(hangs.requests.length, 6);
  t.is(new Set(hangs.requests.map(({ path }) => path)).size, 6, 'one each');
  await system.closeSender();
  await Promise.all([hangs.close(), good.close()]);
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
    await system.startSender();
    await system.until(async () => {
      const [row] = await system.env.db.query<{ n: number }>(
        'select count(*) as n from webhook_deliveries where endpoint_id = any($1) and attempts > 0',
        [ids],
      );
      return row!.n === ids.length;
    });
    broken = false;
    const failed = bad.requests.length;
    for (const id of ids) await poke(id);
    await bad.waitForCount(failed + 4);
    const { id } = await system.createEndpoint({ url: good.url });
    for (let n = 0; n < 20; n++) await poke(id);
    await good.waitForCount(20);
    await system.waitUntilNone(id);
    t.is(bad.requests.length, failed + 4);
    await system.closeSender();
    await Promise.all([bad.close(), good.close()]);
  },
);

test.serial('[W07] an endpoint whose secret cannot be decrypted fails alone, and the others are served', async (t) => {
  const receiver = await Receiver.start();
  const [shut, good] = [
    await system.createEndpoint({ url: receiver.url }),
    await system.createEndpoint({ url: receiver.url }),
  ];
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
  await system.startSender();
  await receiver.waitForCount(1);
  await system.waitUntilNone(good.id);
  await system.until(async () => {
    const { data } = await system.api.ask('webhooks.attempts.list', { token: system.admin, id: shut.id });
    return data.items.length > 0;
  });
  const { data } = await system.api.ask('webhooks.attempts.list', { token: system.admin, id: shut.id });
  t.like(data.items[0], { outcome: 'failed', error: 'secret_unreadable' });
  t.is(receiver.requests.length, 1);
  await system.closeSender();
  await receiver.close();
});

test.serial('[W07] endpoints that hang or fail use only their own concurrency, and a rate limit is kept', async (t) => {
  await system.env.db.query('update webhook_endpoints set enabled = false');
  await system.startSender();
  const hangs = await Receiver.start(() => {});
  const fails = await Receiver.start((_, response) => void response.writeHead(500).end());
  const good = await Receiver.start();
  const slow = await Receiver.start();
  const { conversation, say } = await system.startConversation();
  const where = { conversation_id: conversation, event_types: ['chat.message.created' as const] };
  await system.createEndpoint({ url: hangs.url, ...where });
  const failing = await system.createEndpoint({ url: fails.url, ...where });
  await system.createEndpoint({ url: good.url, ...where });
  const paced = await system.createEndpoint({ url: slow.url, ...where, max_per_sec: 20 });
  for (let i = 0; i < 40; i++) await say();
  await good.waitForCount(40);
  t.is(hangs.requests.length, 1, 'one at a time, and it still hangs');
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
  await slow.waitForCount(40);
  await system.waitUntilNone(paced.id);
  // When they began; when they arrive is a matter of the machine.
  const times = (await attempts(paced.id)).map(({ at }) => at);
  t.is(times.length, 40);
  for (const [i, at] of times.entries()) {
    const within = times.filter((other) => other >= at && other < at + 1_000).length;
    t.true(within <= 24, `${within} within a second from the ${i}th`);
  }
  t.true(good.connectionCount <= 8 && slow.connectionCount <= 8, 'connections are kept');
  await system.closeSender();
  await Promise.all([hangs, fails, good, slow].map((one) => one.close()));
});

test.serial(
  '[W07] ordered deliveries keep their order per conversation, and a failing one delays no other conversation',
  async (t) => {
    await system.startSender();
    const stuck = new Set<string>();
    const receiver = await Receiver.start((got, response) => {
      response.writeHead(stuck.has(String(got.event.data.conversation_id)) ? 500 : 200).end();
    });
    const endpoint = await system.createEndpoint({
      url: receiver.url,
      ordered: true,
      event_types: ['chat.message.created'],
    });
    const pairs = await Promise.all([
      system.startConversation(),
      system.startConversation(),
      system.startConversation(),
    ]);
    stuck.add(pairs[0].conversation);
    system.clock.freeze();
    for (let i = 0; i < 10; i++) await Promise.all(pairs.map(({ say }) => say()));
    const seqs = (conversation: string): unknown[] =>
      receiver.requests
        .filter(({ event }) => event.data.conversation_id === conversation)
        .map(({ event }) => event.data.seq);
    const all = Array.from({ length: 10 }, (_, i) => i + 1);
    await receiver.waitUntil(() => pairs.slice(1).every(({ conversation }) => seqs(conversation).length === 10));
    for (const { conversation } of pairs.slice(1)) t.deepEqual(seqs(conversation), all);
    t.deepEqual(seqs(pairs[0].conversation), [1], 'the first waits for its retry, the others behind it');
    stuck.clear();
    system.clock.resume();
    system.clock.advance(5_000);
    await receiver.waitUntil(() => seqs(pairs[0].conversation).length === 11);
    t.deepEqual(seqs(pairs[0].conversation), [1, ...all]);
    await system.waitUntilNone(endpoint.id);
    await receiver.close();
    await system.closeSender();
  },
);
