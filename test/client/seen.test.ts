import test from 'ava';
import { Seen } from '../../client/seen.ts';

test('[M06] what came before the first item is not fetched again after a gap; what came before an own message is', (t) => {
  const seen = new Seen();
  seen.add('got', 4);
  t.is(seen.contiguous('got'), 4);
  seen.add('sent', 4, true);
  t.is(seen.contiguous('sent'), 0);
  t.true(seen.isNew('sent', 3));
  seen.add('sent', 1);
  t.is(seen.contiguous('sent'), 1);
  t.is(seen.contiguous('unknown'), 0);
});
