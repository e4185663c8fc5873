/** What fanout writes again after a fault: what is missing, and next to nothing else. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { Gateway } from '../../nats/gateway.ts';
import { consumer, inboxStream, LOG } from '../../nats/topology.ts';
import { readCheckpoint } from '../../services/fanout/checkpoints.ts';
import { InboxRecovery } from '../../services/fanout/inbox-recovery.ts';
import { directConversationId, partitionOf, shardOf } from '../../shared/ids.ts';
import { createLog } from '../../shared/log.ts';
import { type Addresses, type Env, type Spawned, startEnv } from '../env/index.ts';
import { closeDevices, insertPerson, TestDevice } from '../env/people.ts';
import { until } from '../env/until.ts';
import { directMessage, loseInboxes, readInbox } from './inbox.ts';
import { type LoadResult, loadForMs, runLoad } from './load.ts';

let env: Env;
let gateway: Gateway;
let at: Addresses;
let fanouts: Spawned[];

test.before(async () => {
  env = await startEnv({
    PIN_TIMEOUT_MS: 1_000,
    // Longer than tests wait: nobody hears inbox.empty without fanout's word.
    INBOX_RESTORE_WAIT_MS: 600_000,
    LOG_LEVEL: 'error',
    WS_RATE_LIMIT_MAX_COMMANDS: 1_000_000,
  });
  fanouts = await Promise.all([env.spawn('fanout'), env.spawn('fanout')]);
  at = await env.start('api', 'edge', 'ingest', 'history');
  gateway = new Gateway(await env.nats('edge'), env.config);
});
test.after.always(async () => {
  gateway?.close();
  await env?.stop();
});

async function count({ answers, to }: LoadResult): Promise<{ lost: number; repeats: number }> {
  await env.settle();
  const ids = (await readInbox(await env.nats('admin'), env, to)).map(({ frame }) => frame.message!.id);
  const there = new Set(ids);
  return { lost: answers.filter(({ message_id }) => !there.has(message_id)).length, repeats: ids.length - there.size };
}

test.serial(
  '[M04] kill -9 of the broker under load loses nothing and repeats at most the messages in flight',
  async (t) => {
    const result = await runLoad(
      env,
      gateway,
      async () => {
        await env.broker.kill9();
        await env.broker.restart();
      },
      loadForMs(3_000),
    );
    const { lost, repeats } = await count(result);
    t.log(`${result.answers.length} messages, ${result.inFlight} in flight, ${repeats} twice`);
    t.is(lost, 0);
    t.true(repeats <= result.inFlight, `${repeats} of ${result.answers.length} came twice`);
  },
);

test.serial(
  '[M04] a fanout frozen past its pin time-out does not write again what its successor wrote after it resumes',
  async (t) => {
    for (const fanout of fanouts) {
      const result = await runLoad(
        env,
        gateway,
        async () => {
          fanout.signal('SIGSTOP');
          const [one, other] = [await insertPerson(env), await insertPerson(env)];
          await new Promise<void>((sent, failed) => {
            const waiter = { answered: () => {}, failed, sent };
            gateway.submit(directMessage(one, other), Buffer.from('"x"'), waiter);
          });
          fanout.signal('SIGCONT');
        },
        loadForMs(4_000),
      );
      const { lost, repeats } = await count(result);
      t.log(`${result.answers.length} messages, ${result.inFlight} in flight, ${repeats} twice`);
      t.is(lost, 0);
      t.true(repeats <= result.inFlight, `${repeats} of ${result.answers.length} came twice`);
    }
  },
);

test.serial('[M04] deleting fanout’s durables while the broker runs repeats nothing', async (t) => {
  const manager = await jetstreamManager(await env.nats('admin'));
  const result = await runLoad(
    env,
    gateway,
    async (strikes) => {
      for (let partition = 0; partition < env.config.PARTITIONS; partition++) {
        strikes();
        await manager.consumers.delete(LOG, consumer.fanout(partition));
        strikes();
      }
    },
    loadForMs(1_500),
  );
  const { lost, repeats } = await count(result);
  t.is(lost, 0);
  t.true(repeats <= result.inFlight, `${repeats} of ${result.answers.length} came twice`);
});

test.serial(
  '[M05] [M06] after the inboxes are lost with the broker, inbox.empty follows the restored items',
  async (t) => {
    const [a, b] = [await (await TestDevice.register(at)).connect(), await TestDevice.register(at)];
    await b.connect();
    await b.device.close();
    const messages = 500;
    await Promise.all(Array.from({ length: messages }, (_, i) => a.send(b, `${i}`)));
    await env.settle();
    await loseInboxes(env);
    const before = b.emptyCount;
    await b.device.connect();
    await until(() => b.emptyCount > before);
    const end = b.frames.findLastIndex(({ type }) => type === 'inbox.empty');
    const came = new Set(
      b.frames.slice(0, end).flatMap((frame) => (frame.type === 'message.created' ? [frame.message.id] : [])),
    );
    t.is(came.size, messages);
    await closeDevices(a, b);
  },
);

test.serial(
  '[M05] [M06] a shard deleted while nobody writes is restored by every partition before inbox.empty is sent to its devices',
  async (t) => {
    const b = await (await TestDevice.register(at)).connect();
    await b.device.close();
    const ids: string[] = [];
    for (
      const left = new Set(Array.from({ length: env.config.PARTITIONS }, (_, partition) => partition));
      left.size;
    ) {
      const a = await TestDevice.register(at);
      if (!left.delete(partitionOf(directConversationId(a.userId, b.userId), env.config.PARTITIONS))) continue;
      await a.connect();
      for (let i = 0; i < 3; i++) ids.push((await a.send(b, `${i}`)).message_id);
      await a.device.close();
    }
    await env.settle();
    const nc = await env.nats('admin');
    await (await jetstreamManager(nc)).streams.delete(inboxStream(shardOf(b.userId, env.config.INBOX_SHARDS)));
    const before = b.emptyCount;
    await b.device.connect();
    await until(() => b.emptyCount > before);
    t.deepEqual((await readInbox(nc, env, b.userId)).map(({ frame }) => frame.message!.id).sort(), ids.sort());
    await closeDevices(b);
  },
);

test.serial('[M04] a checkpoint never goes back for the same broker, whoever writes it', async (t) => {
  const nc = await env.nats('fanout');
  const lives = new InboxRecovery(nc, env.config, createLog(env.config));
  const old = new InboxRecovery(nc, env.config, createLog(env.config));
  const { cursors } = await lives.startPartition(1);
  await lives.writeCheckpoint(1, 1_000_000, cursors);
  await old.writeCheckpoint(1, 999_999, cursors);
  t.is((await readCheckpoint(nc, 1))?.entry, 1_000_000);
});
