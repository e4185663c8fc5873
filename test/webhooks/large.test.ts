/** One entry of the log that makes more happen than one message of EVENTS holds. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { Publisher } from '../../nats/publisher.ts';
import { EVENTS, subject } from '../../nats/topology.ts';
import { derivedId, uuid7 } from '../../shared/ids.ts';
import { EntryWriter } from '../../shared/pipeline/entry.ts';
import type { Event } from '../../shared/pipeline/events.ts';
import { type Env, startEnv } from '../env/index.ts';
import { until } from '../env/until.ts';
import { readEvents } from './system.ts';

const GROUPS = 30;
const MEMBERS = 1_000;
const PARTITION = 1;

let env: Env;
test.before(async () => {
  env = await startEnv({ PIN_TIMEOUT_MS: 1_000 });
});
test.after.always(() => env?.stop());

test('[W02] thirty groups of a thousand members in one entry are published once and in order, even when the worker is killed', async (t) => {
  const ingest = await env.nats('ingest');
  const publisher = new Publisher(ingest);
  const groups = Array.from({ length: GROUPS }, () => uuid7());
  const entry = (ids: string[], members: number): Buffer => {
    const writer = new EntryWriter();
    for (const conversation_id of ids) {
      const users = Array.from({ length: members }, (_, i) => derivedId(0, `member ${i}`));
      writer.add({
        ...{ kind: 'conversation', type: 'group', conversation_id, seq: 0, at: Date.now() },
        ...{ user_id: users[0]!, device_id: uuid7(), members: users.map((user) => [user, 'member']) },
      });
    }
    return writer.finish();
  };
  const large = await publisher.appendToLog(PARTITION, 0, entry(groups, MEMBERS));
  const [last] = [uuid7()];
  await publisher.appendToLog(PARTITION, large, entry([last!], 2));

  const manager = await jetstreamManager(await env.nats('admin'));
  const told = (): Promise<Event[]> => readEvents(env, (from) => void t.is(from, subject.eventsOf(PARTITION)));
  const worker = await env.spawn('events');
  for (const messages of [1, 4]) {
    await until(async () => (await manager.streams.info(EVENTS)).state.messages >= messages);
    await worker.kill9();
    await worker.restart();
  }
  await until(async () => (await told()).some((one) => one.conversation_id === last));
  const all = await told();
  t.is(all.length, GROUPS * (MEMBERS + 1) + 3);
  t.is(new Set(all.map(({ id }) => id)).size, all.length, 'no event twice');
  t.deepEqual(
    all.filter(({ type }) => type === 'chat.conversation.created').map(({ conversation_id }) => conversation_id),
    [...groups, last],
  );
  publisher.close();
});
