import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { readOptions } from '../../bench/options.ts';
import { bar, median, table } from '../../bench/report.ts';

const MAIN = fileURLToPath(new URL('../../bench/main.ts', import.meta.url));

async function bench(...args: string[]): Promise<Record<string, never>> {
  const { stdout } = await promisify(execFile)(process.execPath, [MAIN, ...args, '--json']);
  return JSON.parse(stdout) as Record<string, never>;
}

test('[M01] [M02] W1 delivers every message once and in order, and history holds it', async (t) => {
  const result = (await bench(
    ...['W1', '--devices', '10', '--seconds', '0.5', '--profile', 'fast', '--inflight', '20'],
  )) as unknown as { runs: { msgs_per_sec: number; wrong: string[]; cpu_us: Record<string, number> }[] };
  const [run] = result.runs;
  t.deepEqual(run!.wrong, []);
  t.true(run!.msgs_per_sec > 0);
  t.deepEqual(
    ['postgres', 'nats', 'edge', 'api+ingest+fanout+history', 'load', 'all'].filter((name) => !run!.cpu_us[name]),
    [],
  );
});

test('[M06] W3 delivers the whole backlog of away devices once and in order', async (t) => {
  const result = (await bench(
    ...['W3', '--devices', '20', '--backlog', '400', '--seconds', '0.5', '--profile', 'fast', '--live-rate', '20'],
  )) as unknown as { runs: { one: { wrong: string[] }; many: { wrong: string[]; items_each: number } }[] };
  const [run] = result.runs;
  t.deepEqual([...run!.one.wrong, ...run!.many.wrong], []);
  t.is(run!.many.items_each, 20);
});

test('[W07] W7 delivers everything to healthy endpoints beside dead and slow ones', async (t) => {
  const result = (await bench(
    ...['W7', '--seconds', '0.5', '--rate', '100', '--backlog', '300', '--profile', 'fast'],
  )) as unknown as { runs: { wrong: string[]; beside_bad: { delivered: number }; drained_per_sec: number }[] };
  const [run] = result.runs;
  t.deepEqual(run!.wrong, []);
  t.is(run!.beside_bad.delivered, 50);
  t.true(run!.drained_per_sec > 0);
});

test('[R01] the connects benchmark gets a welcome on each socket', async (t) => {
  const args = ['connects', '--devices', '4', '--connects', '40', '--profile', 'fast'];
  t.like(await bench(...args), { connects: 40, cut: {}, wrong: [] });
});

test('wrong options are refused with the reason', (t) => {
  const message = /^the workload must be one of direct-throughput \(W1\), .*, connects$/;
  t.throws(() => readOptions([]), { message });
  t.throws(() => readOptions(['W9']), { message });
  t.throws(() => readOptions(['W1', '--devices', '3']), { message: '--devices must be even' });
  t.throws(() => readOptions(['W1', '--seconds', '-1']), { message: /seconds/ });
  t.throws(() => readOptions(['W1', '--profile', 'quick']), { message: '--profile must be durable, fast or both' });
  t.is(readOptions(['--help']), undefined);
  t.is(readOptions(['W1'])!.workload, 'direct-throughput');
  t.is(readOptions(['direct-throughput'])!.workload, 'direct-throughput');
});

test('median, bar and table format the figures', (t) => {
  t.is(median([3, 1, 2, 10]), 2.5);
  t.is(bar(1, 2).length, 15);
  t.is(bar(-1, 2), '');
  t.deepEqual(
    table(
      ['', 'n'],
      [
        ['a', 1_000],
        ['bc', 2.5],
      ],
    ).split('\n'),
    ['        n', '──  ─────', 'a   1,000', 'bc    2.5'],
  );
});
