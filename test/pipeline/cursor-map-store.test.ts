/** The stored form of cursor maps stays readable for later releases. */
import test from 'ava';
import { decodeCursorMap, encodeCursorMap } from '../../nats/inbox/cursor-map-store.ts';

test('[M06] the stored JSON of a cursor map keeps the property names of the first release', (t) => {
  const stored = '{"server":"a","created":"b","lives":[{"from":1,"base":7},{"from":5,"base":9}],"whole":true}';
  const map = decodeCursorMap(stored);
  t.deepEqual(map.generations, [
    { from: 1, base: 7 },
    { from: 5, base: 9 },
  ]);
  t.is(encodeCursorMap(map), stored);
  const restoring = '{"server":"a","created":"b","lives":[{"from":1,"base":7}]}';
  t.is(encodeCursorMap(decodeCursorMap(restoring)), restoring);
  t.false('whole' in decodeCursorMap(restoring));
});
