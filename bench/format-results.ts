/** Formats the results of the workloads as tables. */

import type { DirectThroughputResult } from './direct-throughput.ts';
import type { IdleResult } from './idle.ts';
import type { LatencyUnderLoadResult } from './latency-under-load.ts';
import type { ReconnectDrainResult } from './reconnect-drain.ts';
import { bar, cpuTable, median, table } from './report.ts';
import type { TrafficResult } from './traffic.ts';

const formatPercent = (share: number): string => `${(share * 100).toFixed(1)} %`;

export function formatDirectThroughput({ runs, ceilings, summary, drift }: DirectThroughputResult): string {
  const ceiling = median(ceilings.map(({ msgs_per_sec }) => msgs_per_sec));
  const rowOf = (name: string, run: TrafficResult, ratio: number, sustained: string): (string | number)[] => [
    name,
    run.msgs_per_sec,
    ratio,
    run.delivered.p50,
    run.delivered.p99,
    run.queued.p50,
    run.queued.p99,
    sustained,
    bar(run.msgs_per_sec, ceiling),
  ];
  const parts = [
    table(
      ['', 'msg/s', 'of ceiling', 'p50 ms', 'p99 ms', 'queued p50', 'queued p99', 'sustained', ''],
      [
        ...ceilings.map((run) => rowOf('bare relay', run, 1, '')),
        ...runs.map((run) => rowOf(run.durability, run, run.ratio, run.sustained ? 'yes' : 'no')),
      ],
    ),
  ];
  for (const [profile, { msgs_per_sec, range, ratio }] of Object.entries(summary)) {
    parts.push(`\n${profile}: median ${msgs_per_sec} msg/s (${range}), ${ratio} of the ceiling`);
    parts.push(cpuTable(runs.findLast((run) => run.profile === profile)!.cpu_us));
  }
  parts.push(`\nbare relay; its runs drift by ${formatPercent(drift)}`, cpuTable(ceilings.at(-1)!.cpu_us));
  return parts.join('\n');
}

export function formatLatencyUnderLoad({ runs }: LatencyUnderLoadResult): string {
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

export function formatReconnectDrain({ runs }: ReconnectDrainResult): string {
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

export function formatIdleSockets({ sockets, edge, bare, ratio }: IdleResult): string {
  const greater = Math.max(edge.bytes_per_socket, bare.bytes_per_socket);
  const rows = [
    ['edge', edge],
    ['bare', bare],
  ] as const;
  return `${sockets} idle sockets; one takes ${ratio} times the memory of a bare one\n${table(
    ['', 'bytes/socket', 'RSS MB', 'CPU ms/s', ''],
    rows.map(([name, side]) => [
      name,
      side.bytes_per_socket,
      side.rss_mb,
      side.cpu_ms_per_sec,
      bar(side.bytes_per_socket, greater),
    ]),
  )}`;
}
