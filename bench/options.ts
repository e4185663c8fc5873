/** Reads the command line of `npm run bench`. */
import { parseArgs } from 'node:util';
import type { Profile } from './system.ts';

/** Every workload with its earlier name, which the command line still accepts, and its default number of devices. */
const WORKLOADS = {
  'direct-throughput': { oldName: 'W1', devices: 200 },
  'latency-under-load': { oldName: 'W2', devices: 200 },
  'reconnect-drain': { oldName: 'W3', devices: 1_000 },
  'webhook-delivery': { oldName: 'W7', devices: 2 },
  idle: { oldName: undefined, devices: 2_000 },
  login: { oldName: undefined, devices: 40 },
  connects: { oldName: undefined, devices: 20 },
} as const;
export type Workload = keyof typeof WORKLOADS;

export const HELP = `npm run bench -- <workload> [options]

  direct-throughput   (W1)  messages a second from device to device, against a bare relay of the same frames
  latency-under-load  (W2)  latency at 25, 50 and 75 % of the rate of W1, against a raw publish and a raw round trip
  reconnect-drain     (W3)  draining a backlog: one device with many items, many devices with some, beside live traffic
  webhook-delivery    (W7)  webhooks: latency at healthy endpoints beside dead and slow ones, and the rate at which
                            a backlog is delivered, against bare signed POSTs
  idle                      memory of an idle socket, against a socket of the bare relay
  login                     the cost of a log-in, and the effect of a flood of wrong log-ins on delivery
  connects                  sockets opened and closed, --devices at a time: whether each gets its welcome

  --devices N      half of them send to the other half      (W1 W2: 200, W3: 1000, idle: 2000, login: 40, connects: 20)
  --seconds N      how long each figure is measured                                   (10)
  --profile P      durable, fast or both                                              (both)
  --runs N         rounds; the profiles alternate within each                         (1)
  --size N         bytes of a payload                                                 (256)
  --inflight N     W1 W2: messages in flight at once                                  (1000)
  --rate N         W1, login: offers so many a second instead; W2: the rate that is 100 %; W7: events a second
                   (W1: as fast as --inflight allows, W2: the rate that W1 reaches, W7: 200, login: 500)
  --backlog N      W3: items in all, for the one device and for the many              (100000; W7: 10000)
  --connects N     connects: sockets in all                                           (20000)
  --live-rate N    W3: messages a second between other devices meanwhile              (500)
  --cpu-prof DIR   every service process writes a CPU profile to this directory
  --json           prints only the line of JSON

Engines, services and load run on this machine, on loopback, in a temporary directory that is removed at the end.
Ceilings are measured in the same run. If they drift by more than 10 %, the run prints VOID: the machine was not quiet.
`;

export interface Options {
  workload: Workload;
  devices: number;
  seconds: number;
  profiles: Profile[];
  runs: number;
  size: number;
  inflight: number;
  /** 0 if the command line names none. */
  rate: number;
  backlog: number;
  connects: number;
  liveRate: number;
  cpuProf: string | undefined;
  json: boolean;
  /** Prints progress, unless only JSON is wanted. */
  log(line: string): void;
}

/** @returns undefined when help was asked for. @throws an error that names the wrong option and its rule */
export function readOptions(args: string[]): Options | undefined {
  const text = (value: string) => ({ type: 'string', default: value }) as const;
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      help: { type: 'boolean', short: 'h', default: false },
      json: { type: 'boolean', default: false },
      devices: { type: 'string' },
      seconds: text('10'),
      profile: text('both'),
      runs: text('1'),
      size: text('256'),
      inflight: text('1000'),
      rate: text('0'),
      backlog: { type: 'string' },
      connects: text('20000'),
      'live-rate': text('500'),
      'cpu-prof': { type: 'string' },
    },
  });
  if (values.help) return undefined;
  const workload = readWorkload(positionals);
  const number = (name: keyof typeof values, value: string, min: number): number => {
    if (!/^\d+(\.\d+)?$/.test(value) || Number(value) < min) throw new Error(`--${name} must be a number from ${min}`);
    return Number(value);
  };
  const profiles: Profile[] = values.profile === 'both' ? ['fast', 'durable'] : [values.profile as Profile];
  if (!['both', 'fast', 'durable'].includes(values.profile)) throw new Error('--profile must be durable, fast or both');
  const devices = number('devices', values.devices ?? String(WORKLOADS[workload].devices), 2);
  if (devices % 2) throw new Error('--devices must be even');
  return {
    workload,
    devices,
    seconds: number('seconds', values.seconds, 0.5),
    profiles,
    runs: number('runs', values.runs, 1),
    size: number('size', values.size, 8),
    inflight: number('inflight', values.inflight, 1),
    rate: number('rate', values.rate, 0),
    backlog: number('backlog', values.backlog ?? (workload === 'webhook-delivery' ? '10000' : '100000'), 1),
    connects: number('connects', values.connects, 1),
    liveRate: number('live-rate', values['live-rate'], 1),
    cpuProf: values['cpu-prof'],
    json: values.json,
    log: values.json ? () => {} : (line) => void process.stdout.write(`${line}\n`),
  };
}

/** Accepts a workload by its name or its earlier name, in any case. */
function readWorkload(positionals: string[]): Workload {
  const wanted = positionals[0]?.toLowerCase();
  const all = Object.entries(WORKLOADS) as [Workload, { oldName: string | undefined }][];
  const found = all.find(([name, { oldName }]) => wanted === name || wanted === oldName?.toLowerCase());
  if (found && positionals.length === 1) return found[0];
  const names = all.map(([name, { oldName }]) => (oldName ? `${name} (${oldName})` : name));
  throw new Error(`the workload must be one of ${names.join(', ')}`);
}
