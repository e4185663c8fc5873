/** The command line of `npm run bench`. */
import { parseArgs } from 'node:util';
import type { Profile } from './system.ts';

export const HELP = `npm run bench -- <what> [options]

  W1    messages a second from device to device, against a bare relay of the same frames
  W2    latency at 25, 50 and 75 % of what W1 reaches, against a raw publish and a raw round trip
  W3    draining a backlog: one device with many items, many devices with some, live traffic beside
  W7    webhooks: arrival at healthy endpoints beside dead and slow ones, a backlog drained, against bare signed POSTs
  idle  memory of an idle socket, against a bare one
  connects  sockets opened and closed, --devices at a time: whether each has its welcome
  login what a log-in costs, and what a flood of wrong ones does to delivery

  --devices N      half of them send to the other half             (W1 W2: 200, W3: 1000, idle: 2000, login: 40, connects: 20)
  --seconds N      how long each figure is measured                (10)
  --profile P      durable, fast or both                           (both)
  --runs N         rounds; profiles take turns in each             (1)
  --size N         bytes of a payload                              (256)
  --inflight N     W1 W2: messages on their way at once            (1000)
  --rate N         W1, login: offer so many a second instead; W2: 100 %   (W2: what W1 reaches; W7: 200)
  --backlog N      W3: items in all, for the one and for the many  (100000; W7: 10000)
  --connects N     connects: sockets in all                         (20000)
  --live-rate N    W3: messages a second between others meanwhile  (500)
  --cpu-prof DIR   every service process writes a CPU profile there
  --json           only the JSON line

Engines, services and load run on this machine, on loopback, in a temporary directory that is removed at the end.
Ceilings are measured in the same run; where they drift by more than 10 % the run says VOID: the machine was not quiet.
`;

export type What = 'W1' | 'W2' | 'W3' | 'W7' | 'idle' | 'login' | 'connects';

export interface Options {
  what: What;
  devices: number;
  seconds: number;
  profiles: Profile[];
  runs: number;
  size: number;
  inflight: number;
  rate: number;
  backlog: number;
  connects: number;
  liveRate: number;
  cpuProf: string | undefined;
  json: boolean;
  /** Progress. */
  say(line: string): void;
}

const WHAT = ['W1', 'W2', 'W3', 'W7', 'idle', 'login', 'connects'];
const DEVICES: Record<What, number> = { W1: 200, W2: 200, W3: 1_000, W7: 2, idle: 2_000, login: 40, connects: 20 };

/** @returns undefined when help was asked for. @throws with what is wrong. */
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
  const given = WHAT.find((one) => one.toUpperCase() === positionals[0]?.toUpperCase());
  if (!given || positionals.length > 1) throw new Error(`say one of ${WHAT.join(', ')}`);
  const what = given as What;
  const number = (name: keyof typeof values, value: string, min: number): number => {
    if (!/^\d+(\.\d+)?$/.test(value) || Number(value) < min) throw new Error(`--${name} must be a number from ${min}`);
    return Number(value);
  };
  const profiles: Profile[] = values.profile === 'both' ? ['fast', 'durable'] : [values.profile as Profile];
  if (!['both', 'fast', 'durable'].includes(values.profile)) throw new Error('--profile must be durable, fast or both');
  const devices = number('devices', values.devices ?? String(DEVICES[what]), 2);
  if (devices % 2) throw new Error('--devices must be even');
  return {
    what,
    devices,
    seconds: number('seconds', values.seconds, 0.5),
    profiles,
    runs: number('runs', values.runs, 1),
    size: number('size', values.size, 8),
    inflight: number('inflight', values.inflight, 1),
    rate: number('rate', values.rate, 0),
    backlog: number('backlog', values.backlog ?? (what === 'W7' ? '10000' : '100000'), 1),
    connects: number('connects', values.connects, 1),
    liveRate: number('live-rate', values['live-rate'], 1),
    cpuProf: values['cpu-prof'],
    json: values.json,
    say: values.json ? () => {} : (line) => void process.stdout.write(`${line}\n`),
  };
}
