/** Results as people want to see them. */
import type { IdleResult } from './idle.ts';
import { bar, cpuTable, median, table } from './report.ts';
import type { TrafficResult } from './traffic.ts';
import type { W1Result } from './w1.ts';
import type { W2Result } from './w2.ts';
import type { W3Result } from './w3.ts';

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

export function showW1({ runs, ceilings, summary, drift }: W1Result): string {
  const whole = median(ceilings.map(({ msgs_per_sec }) => msgs_per_sec));
  const row = (name: string, one: TrafficResult, ratio: number, sustained: string): (string | number)[] => [
    name,
    one.msgs_per_sec,
    ratio,
    one.delivered.p50,
    one.delivered.p99,
    one.queued.p50,
    one.queued.p99,
    sustained,
    bar(one.msgs_per_sec, whole),
  ];
  const out = [
    table(
      ['', 'msg/s', 'of ceiling', 'p50 ms', 'p99 ms', 'queued p50', 'queued p99', 'sustained', ''],
      [
        ...ceilings.map((one) => row('bare relay', one, 1, '')),
        ...runs.map((one) => row(one.durability, one, one.ratio, one.sustained ? 'yes' : 'no')),
      ],
    ),
  ];
  for (const [profile, { msgs_per_sec, range, ratio }] of Object.entries(summary)) {
    out.push(`\n${profile}: median ${msgs_per_sec} msg/s (${range}), ${ratio} of the ceiling`);
    out.push(cpuTable(runs.findLast((run) => run.profile === profile)!.cpu_us));
  }
  out.push(`\nbare relay; its runs differ by ${percent(drift)}`, cpuTable(ceilings.at(-1)!.cpu_us));
  return out.join('\n');
}

export function showW2({ runs }: W2Result): string {
  const rows = runs.flatMap(({ durability, steps, floors }) => [
    ...floors.map(({ publish, socket_queued, socket_delivered }) => [
      `${durability}, floor`,
      0,
      publish.p50 + socket_queued.p50,
      publish.p99 + socket_queued.p99,
      publish.p999 + socket_queued.p999,
      publish.p50 + socket_delivered.p50,
      publish.p99 + socket_delivered.p99,
      publish.p999 + socket_delivered.p999,
      1,
    ]),
    ...steps.map(({ share, offered, queued, delivered, delivered_ratio }) => [
      `${durability}, ${share * 100} %`,
      offered,
      queued.p50,
      queued.p99,
      queued.p999,
      delivered.p50,
      delivered.p99,
      delivered.p999,
      delivered_ratio,
    ]),
  ]);
  return table(['ms', 'offered', 'queued p50', 'p99', 'p99.9', 'delivered p50', 'p99', 'p99.9', 'p50 by floor'], rows);
}

export function showW3({ runs }: W3Result): string {
  const rows = runs.flatMap(({ durability, one, many }) =>
    [one, many].map((drain) => [
      durability,
      `${drain.devices} × ${drain.items_each}`,
      drain.items_per_sec,
      median(drain.ceilings),
      drain.ratio,
      drain.first_ms.p50,
      drain.first_ms.max,
      drain.live_p99_ms.before,
      drain.live_p99_ms.meanwhile,
      bar(drain.items_per_sec, median(drain.ceilings)),
    ]),
  );
  return table(
    ['', 'backlog', 'items/s', 'raw', 'ratio', 'first p50 ms', 'max', 'live p99 before', 'meanwhile', ''],
    rows,
  );
}

export function showIdle({ sockets, edge, bare, ratio }: IdleResult): string {
  const whole = Math.max(edge.bytes_per_socket, bare.bytes_per_socket);
  const rows = [
    ['edge', edge],
    ['bare', bare],
  ] as const;
  return `${sockets} idle sockets, ${ratio} of a bare one\n${table(
    ['', 'bytes/socket', 'RSS MB', 'CPU ms/s', ''],
    rows.map(([name, one]) => [
      name,
      one.bytes_per_socket,
      one.rss_mb,
      one.cpu_ms_per_sec,
      bar(one.bytes_per_socket, whole),
    ]),
  )}`;
}
