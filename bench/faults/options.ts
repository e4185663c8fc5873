/** Reads the command line of `npm run faults`. */
import { parseArgs } from 'node:util';
import type { BoundsName } from './bounds.ts';
import { DEFAULT_SHAPE } from './fleet.ts';

export const HELP = `npm run faults -- [--only <name>[,<name>]] [--seconds <n>] [--rate <n>] [--durability durable|fast] [--bounds real|tiny|both] [--prove | --soak] [--keep] [--list] [--help]

Starts a nats-server, a Postgres and one process for each service in a temporary directory, lets simulated people send
messages with the client library, breaks something, and checks what every client sent, was told and received against history:
  I1 a queued message is delivered and in history   I2 no duplicates   I3 seqs without holes, in the order of sending
  I4 every device has everything in order, or was told of a gap        I5 nothing that nobody sent   I6 members only
  I7 memory is bounded, and the system recovers

  --only        scenarios to run, by name or by the beginning of the name
  --seconds     how long each has load, beside the time that the fault takes (default 8)
  --rate        messages that all clients together send each second (default ${DEFAULT_SHAPE.rate})
  --durability  profile of the broker (default durable)
  --bounds      real: the default settings; tiny: caches, windows and queues that every batch fills, and two processes of
                each worker; both (default): every scenario once with each
  --prove       runs the scenarios in which a violation must be found instead: queued before the append, deduplication
                switched off, a power cut without fsync
  --soak        runs half of the full load with a SIGKILL every 20 s and a power cut at the end instead, checked in rounds of
                a minute; with --seconds 600
  --keep        keeps journals and logs even if all went well
  --list        prints the names and what they do
The exit code is 1 if an invariant was violated (with --prove: if the violation was not found); the journals are then kept.
`;

export interface FaultOptions {
  mode: 'help' | 'list' | 'run';
  /** Beginnings of the names of scenarios; undefined for all of them. */
  only: string[] | undefined;
  seconds: number;
  rate: number;
  durability: 'durable' | 'fast';
  bounds: BoundsName[];
  prove: boolean;
  soak: boolean;
  keep: boolean;
}

/** @throws an error that names the wrong option and its rule */
export function readOptions(): FaultOptions {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      seconds: { type: 'string', default: '8' },
      rate: { type: 'string' },
      durability: { type: 'string', default: 'durable' },
      bounds: { type: 'string', default: 'both' },
      prove: { type: 'boolean', default: false },
      soak: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const { durability, prove, soak, keep } = values;
  const seconds = Number(values.seconds);
  if (!(seconds >= 1 && seconds <= 600)) throw new Error('--seconds must be from 1 to 600');
  if (durability !== 'durable' && durability !== 'fast') throw new Error('--durability must be durable or fast');
  const rate = Number(values.rate ?? DEFAULT_SHAPE.rate);
  if (!(rate >= 1 && rate <= 20_000)) throw new Error('--rate must be from 1 to 20000');
  // The systems of --prove are broken on purpose, each in one process, so other bounds would add nothing.
  const bounds = prove ? ['real' as const] : readBounds(values.bounds);
  const mode = values.help ? 'help' : values.list ? 'list' : 'run';
  return { mode, only: values.only?.split(','), seconds, rate, durability, bounds, prove, soak, keep };
}

function readBounds(value: string): BoundsName[] {
  if (value === 'both') return ['real', 'tiny'];
  if (value === 'real' || value === 'tiny') return [value];
  throw new Error('--bounds must be real, tiny or both');
}
