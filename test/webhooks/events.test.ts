import test from 'ava';
import fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import { Session } from '../../client/index.ts';
import { eventLines, eventsOf } from '../../services/events/handle.ts';
import { EVENT_TYPES, type EventName } from '../../shared/contract/events.ts';
import { checker } from '../../shared/contract/validate.ts';
import { appendEvents } from '../../shared/db/outbox.ts';
import { uuid7 } from '../../shared/ids.ts';
import type { MessageRecord } from '../../shared/pipeline/entry.ts';
import { TestDevice } from '../env/people.ts';
import { type ReceivedRequest, Receiver } from './receiver.ts';
import { WebhookSystem } from './system.ts';

let system: WebhookSystem;
test.before(async () => {
  system = await WebhookSystem.start();
  await system.startSender();
});
test.after.always(() => system?.stop());

const checks = Object.fromEntries(
  Object.entries(EVENT_TYPES).map(([type, { data }]) => [type, checker(data, type)]),
) as Record<EventName, (value: unknown) => unknown>;
const types = (got: ReceivedRequest[]): string[] => got.map(({ event }) => event.type);

test('[W02] a message, its attachments and its reading are published with ids and metadata, never ciphertext', async (t) => {
  const receiver = await Receiver.start();
  const { a, b, conversation } = await system.startConversation();
  const endpoint = await system.createEndpoint({ url: receiver.url, conversation_id: conversation, ordered: true });
  const sealed = 'VEVSUklCTFkgU0VDUkVU';
  const media = uuid7();
  const body = {
    client_message_id: 'my-own-word',
    payload: sealed,
    attachments: [{ media_id: media, content_type: 'image/webp', filename: 'passport.webp', size: 5 }],
  };
  const { data } = await system.api.ask('messages.send', { token: a.access_token, id: conversation, body });
  await system.api.ask('messages.markRead', { token: b.access_token, id: conversation, body: { seq: 1 } });
  const got = await receiver.waitForCount(3);
  t.deepEqual(types(got), ['chat.message.created', 'chat.attachment.added', 'chat.message.read']);
  for (const { event, body: raw } of got) {
    checks[event.type as EventName](event.data);
    t.deepEqual(Object.keys(event), ['type', 'timestamp', 'data']);
    for (const secret of [sealed, 'passport', 'my-own-word', 'person_']) t.false(raw.includes(secret));
  }
  const [created, attached, read] = got.map(({ event }) => event.data);
  t.like(created, { message_id: data.message_id, seq: 1, sender_id: a.user.id, attachments_count: 1 });
  t.like(attached, { message_id: data.message_id, media_id: media, content_type: 'image/webp', size: 5 });
  t.like(read, { conversation_id: conversation, seq: 1, user_id: b.user.id, device_id: b.device.id });
  for (const { headers, body: raw } of got) {
    t.notThrows(() => new Webhook(endpoint.secret).verify(raw, headers as Record<string, string>));
  }
  await receiver.close();
});

test('[W02] delivered is published once the device’s cursor is durable, and not for the sender’s own devices', async (t) => {
  const receiver = await Receiver.start();
  const { edgeUrl } = await system.env.start('edge');
  await system.createEndpoint({ url: receiver.url, event_types: ['chat.message.delivered'] });
  const { a, b, conversation, say } = await system.startConversation();
  const [tablet, phone] = [a, b].map(
    ({ user, device, access_token, refresh_token, expires_in_sec }) =>
      new TestDevice(
        new Session({ api: system.api.url, user, device, access_token, refresh_token, expires_in_sec } as never),
        edgeUrl,
      ),
  );
  await Promise.all([tablet!.connect(), phone!.connect()]);
  const message_id = await say();
  const [got] = await receiver.waitForCount(1, ({ event }) => event.data.message_id === message_id);
  checks['chat.message.delivered'](got!.event.data);
  t.deepEqual(got!.event.data, {
    message_id,
    conversation_id: conversation,
    seq: 1,
    sender_id: a.user.id,
    user_id: b.user.id,
    device_id: b.device.id,
  });
  t.is(receiver.requests.length, 1);
  await Promise.all([tablet!.device.close(), phone!.device.close()]);
  await receiver.close();
});

test('[W02] added, re-keyed and removed devices are published in the transaction of the change', async (t) => {
  const receiver = await Receiver.start();
  await system.createEndpoint({
    url: receiver.url,
    event_types: ['device.added', 'device.keys_changed', 'device.removed'],
  });
  const { user, device, access_token } = await system.api.register();
  const mine = ({ event }: ReceivedRequest): boolean => event.data.user_id === user.id;
  await system.api.ask('keys.publish', { token: access_token, body: { identity_key: 'a2V5' } });
  await system.api.ask('keys.publish', { token: access_token, body: { identity_key: 'a2V5' } });
  await receiver.waitForCount(2, mine);
  await system.env.db.query('delete from users where id = $1', [user.id]);
  const got = await receiver.waitForCount(3, mine);
  t.deepEqual(types(got).sort(), ['device.added', 'device.keys_changed', 'device.removed']);
  for (const { event } of got) {
    checks[event.type as EventName](event.data);
    t.is(event.data.device_id, device.id);
  }
  await t.throwsAsync(
    system.env.db.transaction(async ({ query }) => {
      await query("insert into users (id, number) values ($1, '12345678')", [uuid7()]);
      await appendEvents(query, { type: 'webhook.test', data: { endpoint_id: user.id } });
      throw new Error('rolled back');
    }),
  );
  t.deepEqual(await system.env.db.query("select 1 from event_outbox where type = 'webhook.test'"), []);
  await receiver.close();
});

test('[W02] the catalogue lists every type with its schema and a valid example', async (t) => {
  const { data } = await system.api.ask('webhooks.eventTypes.list', { token: system.admin });
  t.deepEqual(
    data.items.map(({ type }) => type),
    Object.keys(EVENT_TYPES),
  );
  for (const { type, about, example, schema } of data.items) {
    t.truthy(about);
    t.is((schema as { type: string }).type, 'object');
    t.notThrows(() => checks[type as EventName](example));
  }
});

test('[W02] the text written for an event equals its object', (t) => {
  fc.assert(
    fc.property(
      fc.record({
        seq: fc.nat(),
        at: fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) }).map((date) => date.getTime()),
        reply_to: fc.option(fc.constant(uuid7()), { nil: undefined }),
        expires_at: fc.option(fc.nat(4e12), { nil: undefined }),
      }),
      (some) => {
        const meta: MessageRecord = {
          ...{ kind: 'message', id: uuid7(), conversation_id: uuid7(), user_id: uuid7(), device_id: uuid7() },
          ...{ client_message_id: 'x', gateway: 'g', tag: 1, ...some },
        };
        const record = { meta, head: Buffer.alloc(0), body: Buffer.alloc(0) };
        t.deepEqual(
          eventLines(record).map((line) => JSON.parse(line)),
          eventsOf(record).map((one) => JSON.parse(JSON.stringify(one))),
        );
      },
    ),
  );
});
