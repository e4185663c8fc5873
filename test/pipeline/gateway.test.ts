/** The gateway on a real broker where nobody works: the test answers itself, in whatever order the broker may bring it. */
import test from 'ava';
import type { NatsConnection } from 'nats';
import { Gateway } from '../../nats/gateway.ts';
import { subject } from '../../nats/topology.ts';
import { uuid7 } from '../../shared/ids.ts';
import { decodeCommands, type Reply } from '../../shared/pipeline/commands.ts';
import { type Env, startEnv } from '../env/index.ts';
import { directMessage } from './inbox.ts';

let env: Env;
let nc: NatsConnection;
test.before(async () => {
  env = await startEnv({ PARTITIONS: 1 });
  nc = await env.nats('admin');
});
test.after.always(() => env?.stop());

interface Asked {
  tag: number;
  conversation_id: string;
  say(reply: Reply): void;
}

/** A message on its way, and what its sender hears. */
async function begin() {
  const commands = nc.subscribe(subject.ingress(0));
  await nc.flush();
  const own = await env.nats('edge');
  const gateway = new Gateway(own, env.config);
  const told: string[] = [];
  const person = () => ({ user: uuid7(), device: uuid7() });
  const over = new Promise<void>((resolve, reject) => {
    gateway.submit(directMessage(person(), person()), Buffer.from('"x"'), {
      answered: ({ seq, repeated }) => told.push(`answered ${seq}${repeated ? ' before' : ''}`),
      failed: reject,
      sent: () => resolve(void told.push('sent')),
    });
  });
  const asks = commands[Symbol.asyncIterator]();
  const asked = async (): Promise<Asked> => {
    const { reply, commands } = decodeCommands((await asks.next()).value!.data);
    const { tag, command } = commands[0]!;
    const say = (what: Reply): void => nc.publish(reply, JSON.stringify(what));
    return { tag, say, conversation_id: (command as { conversation_id: string }).conversation_id };
  };
  const end = (): void => {
    gateway.close();
    commands.unsubscribe();
  };
  return { own, told, over, asked, end };
}

test.serial('[M01] sent is reported after the answer, in whichever order they arrive', async (t) => {
  const { told, over, asked, end } = await begin();
  // ingest and fanout speak over connections of their own.
  const { tag, conversation_id, say } = await asked();
  say({ sent: [tag] });
  say({ answers: [[tag, uuid7(), conversation_id, 7, 0]] });
  await over;
  t.deepEqual(told, ['answered 7', 'sent']);
  end();
});

test.serial(
  '[M01] a command that is sent again after a reconnection and was already known gets sent, too',
  async (t) => {
    const { own, told, over, asked, end } = await begin();
    const first = await asked();
    await own.reconnect();
    const { tag, conversation_id, say } = await asked();
    t.is(tag, first.tag);
    say({ answers: [[tag, uuid7(), conversation_id, 7, 1]] });
    say({ sent: [tag] });
    await over;
    t.deepEqual(told, ['answered 7 before', 'sent']);
    end();
  },
);

test.serial('[M01] a command published while INGRESS was missing is sent once more before its time-out', async (t) => {
  const { own, told, over, asked, end } = await begin();
  await asked();
  await own.reconnect();
  // What went again with the reconnection is lost, as it is while the stream in memory is being made.
  await asked();
  const { tag, conversation_id, say } = await asked();
  say({ answers: [[tag, uuid7(), conversation_id, 7, 0]] });
  say({ sent: [tag] });
  await over;
  t.deepEqual(told, ['answered 7', 'sent']);
  end();
});
