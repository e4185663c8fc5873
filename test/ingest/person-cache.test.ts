/** ingest's cache of people, filled from a real Postgres while it is cleared, trimmed and changed. */
import test from 'ava';
import { PersonCache } from '../../services/ingest/person-cache.ts';
import { openStore } from '../../services/ingest/store.ts';
import { uuid7 } from '../../shared/ids.ts';
import { type Env, startEnv } from '../env/index.ts';
import { insertPerson } from '../env/people.ts';

let env: Env;
test.before(async () => {
  env = await startEnv();
});
test.after.always(() => env?.stop());

test('[M01] [K05] people and devices are found even when another partition clears the cache meanwhile', async (t) => {
  const [a, b, nobody] = [await insertPerson(env), await insertPerson(env), uuid7()];
  const [cache, store] = [new PersonCache(1_000), openStore(env.db)];
  const ids = new Set([a.user, b.user, nobody]);
  const devices = async () =>
    [...(await cache.load(store, ids))].map(([user, known]) => [user, known.devices.map(({ id }) => id)]).sort();
  const expected = [a, b].map(({ user, device }) => [user, [device]]).sort();

  const asked = devices();
  cache.forgetAll();
  t.deepEqual(await asked, expected, 'asked again');
  const known = devices();
  cache.forgetAll();
  t.deepEqual(await known, expected, 'known, and forgotten before they are looked at');
});

test('[K05] [K08] a device added during the look-up of its owner is in the result', async (t) => {
  const a = await insertPerson(env);
  const cache = new PersonCache(1_000);
  const real = openStore(env.db);
  const second = uuid7();
  const store = {
    ...real,
    people: async (ids: string[]) => {
      const found = await real.people(ids);
      if (!(await env.db.query('select 1 from devices where id = $1', [second])).length) {
        await env.db.query("insert into devices (id, user_id, name, platform) values ($1, $2, 'two', 'test')", [
          second,
          a.user,
        ]);
        cache.forget(a.user);
      }
      return found;
    },
  };
  const people = await cache.load(store, new Set([a.user]));
  t.deepEqual(
    people
      .get(a.user)
      ?.devices.map(({ id }) => id)
      .sort(),
    [a.device, second].sort(),
  );
});

test('[M03] a message committed during the look-up of its sender raises the sender’s greatest client id', async (t) => {
  const [a, b] = [await insertPerson(env), await insertPerson(env)];
  const cache = new PersonCache(1_000);
  const real = openStore(env.db);
  let lookups = 0;
  const store = {
    people: async (ids: string[]) => {
      const found = await real.people(ids);
      if (++lookups > 1) return found;
      // History commits the message after Postgres answered, and ingest evicts its id at once.
      await env.db.query(
        `insert into messages (conversation_id, seq, id, sender_id, sender_device_id, client_message_id, payload, sent_at)
         values ($1, 1, $2, $3, $4, 'mine', '"x"', now())`,
        [b.user, uuid7(), a.user, a.device],
      );
      cache.raiseGreatest(a.user, 'mine');
      return found;
    },
  };
  const people = await cache.load(store, new Set([a.user]));
  t.is(people.get(a.user)?.greatest, 'mine');
});

test('[M01] a cache of one person returns all people of a batch', async (t) => {
  const people = await Promise.all(Array.from({ length: 5 }, () => insertPerson(env)));
  const cache = new PersonCache(1);
  const loaded = await cache.load(openStore(env.db), new Set(people.map(({ user }) => user)));
  t.deepEqual([...loaded.keys()].sort(), people.map(({ user }) => user).sort());
});
