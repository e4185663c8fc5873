/** Deliveries that fail: retries, disabled endpoints, the log of attempts. */
import test from 'ava';
import { uuid7 } from '../../shared/ids.ts';
import { type Behaviour, Receiver } from './receiver.ts';
import { WebhookSystem } from './system.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

let system: WebhookSystem;
test.before(async () => {
  system = await WebhookSystem.start();
  await system.startSender();
});
test.after.always(() => system?.stop());

const answer =
  (status: number, headers: Record<string, string> = {}): Behaviour =>
  (_, response) =>
    void response.writeHead(status, headers).end('said so');
const poke = async (endpoint: { id: string }, type?: string): Promise<string> => {
  const body = type === undefined ? {} : { event_type: type };
  const { data } = await system.api.ask('webhooks.endpoints.test', { token: system.admin, id: endpoint.id, body });
  return data.event_id;
};
const ask = <
  N extends
    | 'webhooks.attempts.list'
    | 'webhooks.deliveries.list'
    | 'webhooks.endpoints.stats'
    | 'webhooks.endpoints.get',
>(
  name: N,
  id: string,
  query = {},
) => system.api.ask(name, { token: system.admin, id, query }).then(({ data }) => data);
const attempted = async (id: string, n: number): Promise<void> =>
  system.until(async () => {
    const rows = await system.env.db.query('select 1 from webhook_attempts where endpoint_id = $1', [id]);
    return rows.length >= n;
  });

test.serial(
  '[W04] a failing delivery is attempted ten times over three days with the same id and bytes, then becomes a dead letter',
  async (t) => {
    const receiver = await Receiver.start(answer(500));
    const endpoint = await system.createEndpoint({ url: receiver.url });
    const id = await poke(endpoint);
    await attempted(endpoint.id, 1);
    const schedule = system.env.config.WEBHOOK_RETRY_SCHEDULE_SEC;
    system.clock.freeze();
    for (const [i, sec] of schedule.slice(1).entries()) {
      const [waits] = (await ask('webhooks.deliveries.list', endpoint.id)).items;
      const [last] = (await ask('webhooks.attempts.list', endpoint.id)).items;
      // The first attempt was made before the clock stood still.
      const pause = Date.parse(waits!.next_at!) - Date.parse(last!.at) - last!.duration_ms;
      t.true(Math.abs(pause - sec * 1_000) <= 2, `attempt ${i + 2} is due when the schedule says: ${pause}`);
      system.clock.advance(Date.parse(waits!.next_at!) - system.clock.now() - 1);
      t.is((await ask('webhooks.deliveries.list', endpoint.id)).items[0]!.attempts, i + 1);
      t.is(receiver.requests.length, i + 1, 'and not a moment before');
      system.clock.advance(1);
      await attempted(endpoint.id, i + 2);
    }
    system.clock.resume();
    await system.waitUntilNone(endpoint.id);
    const got = receiver.requests;
    t.is(got.length, 10);
    t.is(new Set(got.map((one) => one.id)).size, 1);
    t.is(new Set(got.map((one) => one.body)).size, 1);
    t.is(new Set(got.map((one) => one.headers['webhook-timestamp'])).size, 10, 'signed anew each time');
    const { items } = await ask('webhooks.deliveries.list', endpoint.id, { status: 'dead' });
    t.like(items[0], { event_id: id, status: 'dead', attempts: 10, last_status: 500, last_error: 'http_500' });
    t.true(
      (await ask('webhooks.endpoints.get', endpoint.id)).enabled,
      'one event is no five days of nothing but failures',
    );

    receiver.respondWith(answer(200));
    const { data } = await system.api.ask('webhooks.deliveries.redrive', {
      token: system.admin,
      id: endpoint.id,
      body: {},
    });
    t.is(data.redriven, 1);
    const [, ...again] = await receiver.waitForCount(11);
    t.is(again.at(-1)!.id, id);
    await system.waitUntilNone(endpoint.id);
    t.like((await ask('webhooks.deliveries.list', endpoint.id)).items[0], { status: 'delivered', attempts: 1 });
    await receiver.close();
  },
);

test.serial('[W04] a Retry-After of the endpoint is honoured', async (t) => {
  const receiver = await Receiver.start(answer(429, { 'retry-after': '600' }));
  const endpoint = await system.createEndpoint({ url: receiver.url });
  await poke(endpoint);
  await attempted(endpoint.id, 1);
  const { items } = await ask('webhooks.deliveries.list', endpoint.id);
  const [last] = (await ask('webhooks.attempts.list', endpoint.id)).items;
  const pause = Date.parse(items[0]!.next_at!) - Date.parse(last!.at) - last!.duration_ms;
  t.true(Math.abs(pause - 10 * MINUTE) <= 2, String(pause));
  receiver.respondWith(answer(200));
  system.clock.advance(10 * MINUTE);
  await receiver.waitForCount(2);
  await receiver.close();
});

test.serial(
  '[W04] a 410 disables the endpoint and announces it, and deliveries continue when it is enabled again',
  async (t) => {
    const watcher = await Receiver.start();
    await system.createEndpoint({ url: watcher.url, event_types: ['webhook.endpoint.disabled'] });
    const bothWait = Promise.withResolvers<void>();
    const receiver = await Receiver.start(async (got, response) => {
      await bothWait.promise;
      await answer(410)(got, response);
    });
    const { conversation, say } = await system.startConversation();
    const endpoint = await system.createEndpoint({ url: receiver.url, conversation_id: conversation, ordered: true });
    await say();
    await say();
    await system.until(async () => (await ask('webhooks.endpoints.stats', endpoint.id)).pending === 2);
    bothWait.resolve();
    const [told] = await watcher.waitForCount(1, ({ event }) => event.data.endpoint_id === endpoint.id);
    t.is(told!.event.data.reason, 'gone');
    t.like(await ask('webhooks.endpoints.get', endpoint.id), { enabled: false, disabled_reason: 'gone' });
    await say();
    await system.env.settle();
    t.is(receiver.requests.length, 1, 'nothing more was sent');
    receiver.respondWith(answer(200));
    const since = new Date(Date.now() - HOUR).toISOString();
    const recover = (): Promise<{ status: number }> =>
      system.api.ask('webhooks.deliveries.recover', { token: system.admin, id: endpoint.id, body: { since } });
    t.is((await recover()).status, 409);
    await system.api.ask('webhooks.endpoints.update', {
      token: system.admin,
      id: endpoint.id,
      body: { enabled: true },
    });
    await receiver.waitForCount(2);
    t.is(receiver.requests.at(-1)!.event.data.seq, 2, 'what waited');
    t.is((await recover()).status, 202);
    const got = await receiver.waitForCount(4 + 3);
    t.deepEqual(
      got
        .slice(2)
        .map(({ event }) => `${event.type} ${event.data.seq ?? ''}`)
        .sort(),
      [
        // From before the endpoint was there.
        'chat.conversation.created ',
        'chat.member.added ',
        'chat.member.added ',
        'chat.message.created 1',
        'chat.message.created 3',
      ],
      'the dead letter, and what it missed',
    );
    await system.until(async () => !(await ask('webhooks.endpoints.stats', endpoint.id)).recovering);
    t.is(new Set(got.map(({ id }) => id)).size, got.length - 1, 'the first one twice, the others once');
    await Promise.all([receiver.close(), watcher.close()]);
  },
);

test.serial(
  '[W04] five days of failures disable an endpoint and announce it, and one success restarts the count',
  async (t) => {
    const watcher = await Receiver.start();
    await system.createEndpoint({ url: watcher.url, event_types: ['webhook.endpoint.disabled'] });
    const receiver = await Receiver.start(answer(503));
    const endpoint = await system.createEndpoint({ url: receiver.url });
    let attempts = 0;
    const fail = async (): Promise<void> => {
      await poke(endpoint);
      await attempted(endpoint.id, ++attempts);
    };
    const only = async (): Promise<void> =>
      // Retries of earlier events would count as attempts too.
      void (await system.env.db.query(
        "update webhook_deliveries set status = 'dead', finished_at = now() where endpoint_id = $1",
        [endpoint.id],
      ));
    await fail();
    await only();
    system.clock.advance(4.9 * DAY);
    receiver.respondWith(answer(200));
    await fail();
    await system.waitUntilNone(endpoint.id);
    t.is((await ask('webhooks.endpoints.get', endpoint.id)).failing_since, undefined);
    receiver.respondWith(answer(503));
    await fail();
    await only();
    system.clock.advance(4.9 * DAY);
    await fail();
    await only();
    t.true((await ask('webhooks.endpoints.get', endpoint.id)).enabled);
    system.clock.advance(0.2 * DAY);
    await fail();
    const [told] = await watcher.waitForCount(1, ({ event }) => event.data.endpoint_id === endpoint.id);
    t.is(told!.event.data.reason, 'failing');
    t.like(await ask('webhooks.endpoints.get', endpoint.id), { enabled: false, disabled_reason: 'failing' });
    await Promise.all([receiver.close(), watcher.close()]);
  },
);

test.serial('[W05] an operator reads the log of attempts and stats, and resends one event', async (t) => {
  let status = 500;
  const receiver = await Receiver.start((_, response) => void response.writeHead(status).end(`said ${status}\0`));
  const endpoint = await system.createEndpoint({ url: receiver.url });
  const id = await poke(endpoint, 'chat.message.created');
  await attempted(endpoint.id, 1);
  t.is(receiver.requests[0]!.event.type, 'chat.message.created');
  status = 200;
  const resend = (event_id: string): Promise<{ status: number }> =>
    system.api.ask('webhooks.deliveries.resend', { token: system.admin, id: endpoint.id, body: { event_id } });
  t.is((await resend(id)).status, 202);
  await attempted(endpoint.id, 2);
  await system.waitUntilNone(endpoint.id);
  t.is((await resend(id)).status, 202, 'also what was delivered');
  await attempted(endpoint.id, 3);
  t.is((await resend(uuid7())).status, 404);
  t.is(new Set(receiver.requests.map((one) => one.id)).size, 1);
  const { items } = await ask('webhooks.attempts.list', endpoint.id, { event_id: id });
  t.deepEqual(
    items.map(({ outcome, status: code, attempt, response }) => [outcome, code, attempt, response]),
    [
      ['delivered', 200, 1, 'said 200\ufffd'],
      ['delivered', 200, 2, 'said 200\ufffd'],
      ['failed', 500, 1, 'said 500\ufffd'],
    ],
  );
  const first = await ask('webhooks.attempts.list', endpoint.id, { limit: 2 });
  const rest = await ask('webhooks.attempts.list', endpoint.id, { limit: 2, cursor: first.next_cursor! });
  t.deepEqual([...first.items, ...rest.items], items);
  t.is(rest.next_cursor, null);
  await receiver.close();
});
