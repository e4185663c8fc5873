/** Every service and both engines die or stand still under load; the clients' own logs are checked afterwards. */
import test from 'ava';
import { FaultSystem } from '../../bench/faults/fault-system.ts';
import { expectSound } from './run-scenario.ts';

let stage: FaultSystem;
test.before(async () => {
  stage = await FaultSystem.open();
});
test.after.always(async () => {
  await stage?.close();
});

test.serial('[M01] [M03] [M05] SIGKILL of ingest loses and doubles nothing', (t) =>
  expectSound(t, stage, 'kill-ingest'),
);
test.serial('[M01] [M05] SIGKILL of fanout loses nothing', (t) => expectSound(t, stage, 'kill-fanout'));
test.serial('[M01] [H01] SIGKILL of history loses nothing', (t) => expectSound(t, stage, 'kill-history'));
test.serial('[M05] [R05] SIGKILL of the edge loses nothing', (t) => expectSound(t, stage, 'kill-edge'));
test.serial('[M01] [M05] SIGKILL of nats-server loses nothing', (t) => expectSound(t, stage, 'kill-nats'));
test.serial('[M01] [H01] SIGKILL of Postgres loses nothing', (t) => expectSound(t, stage, 'kill-postgres'));
test.serial('[M01] [M03] an ingest that lost its partition and resumes writes nothing', (t) =>
  expectSound(t, stage, 'freeze-ingest'),
);
test.serial('[M01] [M05] a fanout that lost its partition and resumes writes nothing', (t) =>
  expectSound(t, stage, 'freeze-fanout'),
);
