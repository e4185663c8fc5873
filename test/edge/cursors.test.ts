/** What an edge knows of cursors that a look into the database, begun before they were committed, does not. */
import test from 'ava';
import { CursorWriter } from '../../services/edge/delivery/cursor-writer.ts';
import { uuid7 } from '../../shared/ids.ts';
import { createLog } from '../../shared/log.ts';
import { type Env, startEnv } from '../env/index.ts';

let env: Env;
test.before(async () => {
  env = await startEnv();
});
test.after.always(() => env?.stop());

test('[M05] a device that returns while its cursor is being written continues from that cursor', async (t) => {
  const cursors = new CursorWriter(env.db, createLog(env.config));
  const [a, b] = [uuid7(), uuid7()];
  const inDatabase = async (device: string): Promise<number | undefined> => {
    const [row] = await env.db.query<{ cursor: number }>('select cursor from device_cursors where device_id = $1', [
      device,
    ]);
    return row?.cursor;
  };
  cursors.set(a, 5);
  t.is(cursors.get(a)?.cursor, 5, 'not written');
  const written = cursors.flush();
  t.is(cursors.get(a)?.cursor, 5, 'being written');
  await written;
  t.is(await inDatabase(a), 5);
  t.is(cursors.get(a)?.cursor, 5, 'written: who asked the database before does not know');
  cursors.set(a, 7);
  cursors.set(b, 1);
  t.is(cursors.get(a)?.cursor, 7);
  await cursors.flush();
  t.deepEqual([await inDatabase(a), await inDatabase(b)], [7, 1]);
  cursors.forgetDevice(a);
  t.deepEqual([cursors.get(a), cursors.get(b)?.cursor], [undefined, 1]);
  await cursors.close();
});
