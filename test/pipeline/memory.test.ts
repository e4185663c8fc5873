/** What ingest remembers of people, read from a real Postgres while it is being forgotten. */
import test from 'ava';
import { Memory } from '../../services/ingest/memory.ts';
import { openStore } from '../../services/ingest/store.ts';
import { uuid7 } from '../../shared/ids.ts';
import { type Env, startEnv } from '../env/index.ts';
import { person } from './people.ts';

let env: Env;
test.before(async () => {
  env = await startEnv();
});
test.after.always(() => env?.stop());

test('[M01] [K05] people and their devices are known although another partition begins anew meanwhile', async (t) => {
  const [a, b, nobody] = [await person(env), await person(env), uuid7()];
  const [memory, store] = [new Memory(1_000), openStore(env.db)];
  const ids = new Set([a.user, b.user, nobody]);
  const devices = async () =>
    [...(await memory.loadPeople(store, ids))].map(([user, known]) => [user, known.devices.map(({ id }) => id)]).sort();
  const expected = [a, b].map(({ user, device }) => [user, [device]]).sort();

  const asked = devices();
  memory.drop(1);
  t.deepEqual(await asked, expected, 'asked again');
  const known = devices();
  memory.drop(1);
  t.deepEqual(await known, expected, 'known, and forgotten before they are looked at');
});

test('[K05] [K08] a device that is added while its owner is looked up is in the answer', async (t) => {
  const a = await person(env);
  const memory = new Memory(1_000);
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
        memory.forget(a.user);
      }
      return found;
    },
  };
  const people = await memory.loadPeople(store, new Set([a.user]));
  t.deepEqual(
    people
      .get(a.user)
      ?.devices.map(({ id }) => id)
      .sort(),
    [a.device, second].sort(),
  );
});
