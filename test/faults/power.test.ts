/** The power cut of the broker's disk; and the checker, held against systems that are broken on purpose. */
import test from 'ava';
import { expectSound, expectViolation, runAlone } from './run-scenario.ts';

test.serial('[M01] [M06] a power cut of the broker’s disk loses nothing that was acknowledged', (t) =>
  runAlone(t, 'power-cut', (stage) => expectSound(t, stage, 'power-cut')),
);
test.serial(
  '[M01] [O01] power cuts of the whole DATA_DIR soon after the first start lose nothing that was acknowledged',
  (t) => runAlone(t, 'power-cut-start', (stage) => expectSound(t, stage, 'power-cut-start')),
);
test.serial('[M01] the checker detects a power cut without fsync', (t) => expectViolation(t, 'red-fast'));
test.serial('[M01] the checker detects queued answered before the append', (t) => expectViolation(t, 'red-early'));
test.serial('[M03] the checker detects missing deduplication', (t) => expectViolation(t, 'red-dedupe'));
