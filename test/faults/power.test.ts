/** The power cut of the broker's disk; and the checker, held against systems that are broken on purpose. */
import test from 'ava';
import { alone, found, holds } from './perform.ts';

test.serial('[M01] [M06] the disk of the broker loses its power', (t) =>
  alone(t, 'power-cut', (stage) => holds(t, stage, 'power-cut')),
);
test.serial(
  '[M01] [O01] the disk below the whole DATA_DIR loses its power soon after the first start, and again',
  (t) => alone(t, 'power-cut-start', (stage) => holds(t, stage, 'power-cut-start')),
);
test.serial('[M01] the checker turns red: a power cut without fsync', (t) => found(t, 'red-fast'));
test.serial('[M01] the checker turns red: queued is said before the append', (t) => found(t, 'red-early'));
test.serial('[M03] the checker turns red: dedupe is off', (t) => found(t, 'red-dedupe'));
