import test from 'ava';
import { Seen } from '../../client/seen.ts';

test('[M06] after a gap, messages before the first received one are not fetched again, but those before an own one are', (t) => {
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
