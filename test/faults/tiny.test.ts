/** The same faults with bounds that every batch fills, and two of each worker. */
import test from 'ava';
import { BOUNDS } from '../../bench/faults/bounds.ts';
import { FaultSystem, SERVICES } from '../../bench/faults/fault-system.ts';
import { expectSound } from './run-scenario.ts';

const { settings, workers } = BOUNDS.tiny;
let stage: FaultSystem;
test.before(async () => {
  stage = await FaultSystem.open(settings, {}, SERVICES, workers);
});
test.after.always(async () => {
  await stage?.close();
});

test.serial('[M01] [M02] [M03] with tiny bounds SIGKILL of each ingest loses and doubles nothing', (t) =>
  expectSound(t, stage, 'kill-ingest'),
);
test.serial('[M01] [M05] with tiny bounds SIGKILL of nats-server loses nothing', (t) =>
  expectSound(t, stage, 'kill-nats'),
);
test.serial('[M01] [H01] with tiny bounds SIGKILL of Postgres loses nothing', (t) =>
  expectSound(t, stage, 'kill-postgres'),
);
test.serial('[M01] [M05] with tiny bounds a fanout that lost its partition and resumes writes nothing', (t) =>
  expectSound(t, stage, 'freeze-fanout'),
);
test.serial('[M03] with tiny bounds the same client id from two sockets and over HTTP is one message', (t) =>
  expectSound(t, stage, 'same-id'),
);
