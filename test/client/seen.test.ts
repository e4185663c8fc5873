/** The memory of received messages decides what a gap has to fetch. */
import test from 'ava';
import { HandledMessages } from '../../client/handled-messages.ts';

test('[M06] after a gap, messages before the first received one are not fetched again, but those before an own one are', (t) => {
  const seen = new HandledMessages();
  seen.add('got', 4);
  t.is(seen.contiguousSeq('got'), 4);
  seen.add('sent', 4, true);
  t.is(seen.contiguousSeq('sent'), 0);
  t.true(seen.isNew('sent', 3));
  seen.add('sent', 1);
  t.is(seen.contiguousSeq('sent'), 1);
  t.is(seen.contiguousSeq('unknown'), 0);
});
