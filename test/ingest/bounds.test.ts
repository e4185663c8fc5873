/** ingest with caches so small that every batch evicts: nothing is lost, doubled or numbered twice. */
import test from 'ava';
import fc from 'fast-check';
import { Gateway } from '../../nats/gateway.ts';
import { openStore } from '../../services/ingest/store.ts';
import { rankOf } from '../../shared/contract/payments.ts';
import { uuid7 } from '../../shared/ids.ts';
import type { Answer } from '../../shared/pipeline/commands.ts';
import { type Env, startEnv } from '../env/index.ts';
import { insertPerson, type PersonRow } from '../env/people.ts';
import { directMessage } from '../pipeline/inbox.ts';

let env: Env;
let gateway: Gateway;
test.before(async () => {
  env = await startEnv({
    ...{ PARTITIONS: 1, DEDUPE_WINDOW: 2, INGEST_MAX_CONVERSATIONS: 1, INGEST_MAX_PEOPLE: 1, INGEST_MAX_PAYMENTS: 1 },
  });
  await env.start('ingest', 'fanout', 'history');
  gateway = new Gateway(await env.nats('edge'), env.config);
});
test.after.always(async () => {
  gateway?.close();
  await env?.stop();
});

const people = (n: number): Promise<PersonRow[]> => Promise.all(Array.from({ length: n }, () => insertPerson(env)));

/** Sends all of them within one turn, as one batch; the same commands again give the same answers. */
async function sendTwice(
  t: import('ava').ExecutionContext,
  commands: Parameters<Gateway['call']>[0][],
): Promise<Answer[]> {
  const once = await Promise.all(commands.map((command) => gateway.call(command, '"x"')));
  await env.settle();
  const twice = await Promise.all(commands.map((command) => gateway.call(command, '"x"')));
  const plain = ({ message_id, conversation_id, seq }: Answer) => ({ message_id, conversation_id, seq });
  t.deepEqual(twice.map(plain), once.map(plain), 'a repetition is answered as the first time');
  t.true(twice.every(({ repeated }) => repeated));
  return once;
}

/** The messages of a conversation are those that were answered, numbered 1, 2, 3 … */
async function checkHistory(t: import('ava').ExecutionContext, answers: Answer[]): Promise<void> {
  await env.settle();
  for (const id of new Set(answers.map(({ conversation_id }) => conversation_id))) {
    const rows = await env.db.query<{ seq: number; id: string }>(
      'select seq, id from messages where conversation_id = $1 order by seq',
      [id],
    );
    const told = new Map(
      answers.filter((one) => one.conversation_id === id).map(({ seq, message_id }) => [seq, message_id]),
    );
    t.deepEqual(
      rows.map(({ seq }) => seq),
      Array.from(rows, (_, i) => i + 1),
      'without holes',
    );
    t.deepEqual(new Map(rows.map(({ seq, id }) => [seq, id])), new Map([...told].sort(([a], [b]) => a - b)));
  }
}

test.serial(
  '[M02] [M03] a batch with more conversations and ids than ingest caches numbers each message once',
  async (t) => {
    const crowd = await people(8);
    const pairs = crowd.slice(1).map((one) => [crowd[0]!, one] as const);
    // Ids that do not sort: each has to be looked for in the window and in Postgres.
    const id = () => uuid7().split('-').reverse().join('-');
    const first = pairs.map(([a, b]) => directMessage(a, b, { client_message_id: id() }));
    const all = await sendTwice(t, first);
    t.true(all.every(({ seq }) => seq === 1));
    // New conversations, which fill the cache, before those that it holds: by person and by conversation.
    const strangers = (await people(4)).map((one) => directMessage(one, crowd[1]!, { client_message_id: id() }));
    const byPerson = pairs.map(([a, b]) => directMessage(b, a, { client_message_id: id() }));
    const byId = first.map(({ conversation_id }) => ({ ...directMessage(crowd[0]!, crowd[0]!), conversation_id }));
    const mixed = await sendTwice(t, [...strangers, ...byPerson, ...byId]);
    t.deepEqual(
      mixed.map(({ seq }) => seq),
      [...strangers.map(() => 1), ...byPerson.map(() => 2), ...byId.map(() => 3)],
    );
    all.push(...mixed);
    await checkHistory(t, all);
  },
);

test.serial(
  '[M03] a retry at the edge of the window, in a batch that moves the window, is the same message',
  async (t) => {
    const [a, b] = (await people(2)) as [PersonRow, PersonRow];
    const old = directMessage(a, b, { client_message_id: 'z-first' });
    const { message_id } = await gateway.call(old, '"x"');
    await env.settle();
    const fresh = Array.from({ length: 10 }, (_, i) => directMessage(a, b, { client_message_id: `zz-${i}` }));
    const answers = await Promise.all([...fresh, old].map((command) => gateway.call(command, '"x"')));
    t.like(answers.at(-1), { message_id, seq: 1, repeated: true });
    await checkHistory(t, [...answers]);
  },
);

test.serial('[M02] [M03] any order of sends and retries makes one message per id and conversation', async (t) => {
  const crowd = await people(4);
  const run = fc.array(
    fc.array(
      fc.record({
        from: fc.integer({ min: 0, max: 3 }),
        to: fc.integer({ min: 1, max: 3 }),
        id: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
      }),
      { minLength: 1, maxLength: 12 },
    ),
    { minLength: 1, maxLength: 6 },
  );
  const answers: Answer[] = [];
  const told = new Map<string, string>();
  let round = 0;
  await fc.assert(
    fc.asyncProperty(run, async (batches) => {
      // Ids of their own for each run, so that runs do not meet; the same people go on.
      const prefix = `${round++}`;
      for (const batch of batches) {
        const commands = batch.map(({ from, to, id }) => {
          const [a, b] = [crowd[from]!, crowd[(from + to) % 4]!];
          return directMessage(a, b, { client_message_id: `${prefix}-${id}` });
        });
        const said = await Promise.all(commands.map((command) => gateway.call(command, '"x"')));
        said.forEach((answer, i) => {
          const { conversation_id, user_id, client_message_id } = commands[i]!;
          const key = `${conversation_id} ${user_id} ${client_message_id}`;
          const before = told.get(key);
          if (before !== undefined && before !== answer.message_id) throw new Error('a retry became a second message');
          told.set(key, answer.message_id);
        });
        answers.push(...said);
      }
    }),
    { numRuns: 25 },
  );
  await checkHistory(t, answers);
});

test.serial('[P03] the rank of a payment survives its eviction in the same batch', async (t) => {
  const [a, b] = (await people(2)) as [PersonRow, PersonRow];
  const { conversation_id } = await gateway.call(directMessage(a, b), '"x"');
  const about = { kind: 'payment', conversation_id, user_id: '', device_id: '' } as const;
  const requests = Array.from({ length: 5 }, () => uuid7());
  const move = (ids: string[], state: 'accepted' | 'pending') =>
    Promise.all(ids.map((request_id) => gateway.call({ ...about, request_id, state })));
  await move(requests, 'accepted');
  await env.settle();
  // New requests, which fill the cache, before those that it holds.
  const fresh = Array.from({ length: 5 }, () => uuid7());
  const late = await move([...fresh, ...requests], 'pending');
  t.deepEqual(
    late.map(({ repeated }) => repeated),
    [...fresh.map(() => false), ...requests.map(() => true)],
    'a payment never goes back',
  );
  await env.settle();
  const ranks = await openStore(env.db).payments(requests.map((request) => [conversation_id, request]));
  t.deepEqual(
    [...ranks.values()],
    requests.map(() => rankOf('accepted')),
  );
});
