/** Two ingest processes share the partitions, one of them dies: an id is one message of its sender in each conversation. */
import test from 'ava';
import { Gateway } from '../../nats/gateway.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import { directConversationId, partitionOf } from '../../shared/ids.ts';
import type { Answer, SendCommand } from '../../shared/pipeline/commands.ts';
import { type Env, type Spawned, startEnv } from '../env/index.ts';
import { insertPerson, type PersonRow } from '../env/people.ts';
import { directMessage } from '../pipeline/inbox.ts';

const PARTITIONS = 4;
let env: Env;
let gateways: Gateway[];
let ingests: Spawned[];
test.before(async () => {
  env = await startEnv({
    ...{ PARTITIONS, PIN_TIMEOUT_MS: 1_000, COMMAND_TIMEOUT_MS: 5_000 },
    ...{ DEDUPE_WINDOW: 5, INGEST_MAX_CONVERSATIONS: 3, INGEST_MAX_PEOPLE: 1, INGEST_MAX_PAYMENTS: 1 },
  });
  ingests = await Promise.all([env.spawn('ingest'), env.spawn('ingest')]);
  await env.start('fanout', 'history');
  gateways = await Promise.all([0, 1].map(async () => new Gateway(await env.nats('edge'), env.config)));
});
test.after.always(async () => {
  for (const gateway of gateways ?? []) gateway.close();
  await env?.stop();
});

/** As clients do: the same command again while it is answered `unavailable`. */
async function send(gateway: Gateway, command: SendCommand): Promise<Answer> {
  for (;;) {
    try {
      return await gateway.call(command, '"x"');
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 'unavailable')) throw error;
    }
  }
}

/** One person and partners of whose conversations every partition has some. */
async function party(): Promise<[PersonRow, PersonRow[]]> {
  const one = await insertPerson(env);
  const partners = await Promise.all(Array.from({ length: 16 }, () => insertPerson(env)));
  const used = new Set(partners.map(({ user }) => partitionOf(directConversationId(one.user, user), PARTITIONS)));
  return used.size === PARTITIONS ? [one, partners] : await party();
}

test('[M02] [M03] the same id sent twice to all partitions, with kill -9 of each ingest, is one message per conversation', async (t) => {
  const [one, partners] = await party();
  const answers = new Map<string, Answer[]>();
  const round = async (name: string): Promise<void> => {
    const commands = partners.map((partner) => directMessage(one, partner, { client_message_id: name }));
    // Both gateways at once, and once more afterwards.
    for (let again = 0; again < 2; again++)
      await Promise.all(
        gateways.flatMap((gateway) =>
          commands.map(async (command) => {
            const key = `${command.conversation_id} ${name}`;
            answers.set(key, [...(answers.get(key) ?? []), await send(gateway, command)]);
          }),
        ),
      );
  };
  // Ids that do not grow: each is looked for in the window and in Postgres.
  for (const name of ['m', 'b', 'z', 'a']) await round(name);
  for (const ingest of ingests) {
    const rounds = (async () => {
      for (const name of ['q', 'c', 'y', 'd'].map((letter) => `${letter}-${ingest.pid}`)) await round(name);
    })();
    await ingest.kill9();
    await ingest.restart();
    await rounds;
  }
  await env.settle();
  for (const [key, said] of answers) t.is(new Set(said.map(({ message_id }) => message_id)).size, 1, key);
  const rows = await env.db.query<{ conversation_id: string; seq: number; client_message_id: string; id: string }>(
    'select conversation_id, seq, client_message_id, id from messages order by conversation_id, seq',
  );
  t.is(rows.length, answers.size, 'each id once in each conversation');
  for (const { conversation_id, client_message_id, id } of rows)
    t.is(answers.get(`${conversation_id} ${client_message_id}`)?.[0]?.message_id, id);
  const seqs = Map.groupBy(rows, ({ conversation_id }) => conversation_id);
  for (const of of seqs.values())
    t.deepEqual(
      of.map(({ seq }) => seq),
      Array.from(of, (_, i) => i + 1),
      'without holes',
    );
});
