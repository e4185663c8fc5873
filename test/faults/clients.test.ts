/** Clients that misbehave or lose their network, poison in the streams, an inbox that is gone. */
import test from 'ava';
import { FaultSystem } from '../../bench/faults/fault-system.ts';
import { expectSound } from './run-scenario.ts';

let stage: FaultSystem;
test.before(async () => {
  stage = await FaultSystem.open({}, {}, [['history', 'fanout', 'ingest', 'api'], 'edge']);
});
test.after.always(async () => {
  await stage?.close();
});

test.serial('[R05] [M05] a reader that stops reading loses nothing', (t) => expectSound(t, stage, 'slow-reader'));
test.serial('[R05] [M05] half-open sockets lose nothing', (t) => expectSound(t, stage, 'half-open'));
test.serial('[R01] [M05] two hundred devices reconnect simultaneously and lose nothing', (t) =>
  expectSound(t, stage, 'storm'),
);
test.serial('[M03] the same client id from two sockets and over HTTP is one message', (t) =>
  expectSound(t, stage, 'same-id'),
);
test.serial('[M01] undecodable messages in INGRESS and LOG stop nothing else', (t) => expectSound(t, stage, 'poison'));
test.serial('[R02] oversized and malformed frames harm nobody else', (t) => expectSound(t, stage, 'frames'));
test.serial('[M06] when an inbox stream is deleted, every device gets a gap and resyncs', (t) =>
  expectSound(t, stage, 'inbox-deleted'),
);
