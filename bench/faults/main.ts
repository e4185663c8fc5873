/** `npm run faults`: breaks things under load and checks from the clients' own logs that nothing was lost or doubled. */
import { parseArgs } from 'node:util';
import { SHAPE } from './fleet.ts';
import { SCENARIOS } from './scenarios/index.ts';
import { RED } from './scenarios/red.ts';
import { type Outcome, type Scenario, Stage } from './stage.ts';

const HELP = `npm run faults -- [--only <name>[,<name>]] [--seconds <n>] [--rate <n>] [--durability durable|fast] [--prove] [--keep] [--list] [--help]

Starts a nats-server, a Postgres and one process for each service in a temporary directory, lets people talk through
the client library, breaks something, and checks from what every client sent, was told and got, and from history:
  I1 queued means delivered and in history   I2 no duplicate         I3 numbers without holes, in order
  I4 contiguous, or an explicit gap          I5 nothing that nobody sent   I7 bounded memory, and it recovers

  --only        scenarios to run, by name or beginning of a name
  --seconds     how long each has load, beside what the fault itself takes (default 8)
  --rate        messages that all clients together send each second (default ${SHAPE.rate})
  --durability  profile of the broker (default durable)
  --prove       run instead what must be found: queued before the append, dedupe off, a power cut without fsync
  --keep        keep journals and logs also when all went well
  --list        names and what they do
Exit code 1 when an invariant was violated (with --prove, when it was not found); the journals are kept then.
`;

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    seconds: { type: 'string', default: '8' },
    rate: { type: 'string' },
    durability: { type: 'string', default: 'durable' },
    prove: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function main(): Promise<number> {
  if (values.help) {
    print(HELP);
    return 0;
  }
  if (values.list) {
    for (const { name, about } of [...SCENARIOS, ...RED]) print(`${name.padEnd(18)} ${about}`);
    return 0;
  }
  const seconds = Number(values.seconds);
  if (!(seconds >= 1 && seconds <= 600)) throw new Error('--seconds must be from 1 to 600');
  if (values.durability !== 'durable' && values.durability !== 'fast')
    throw new Error('--durability must be durable or fast');
  const rate = Number(values.rate ?? SHAPE.rate);
  if (!(rate >= 1 && rate <= 20_000)) throw new Error('--rate must be from 1 to 20000');
  const wanted = values.only?.split(',');
  const chosen = (values.prove ? RED : SCENARIOS).filter(
    ({ name }) => !wanted || wanted.some((one) => name.startsWith(one)),
  );
  if (chosen.length === 0) throw new Error(`no scenario is called ${values.only}; --list names them`);

  const settings = { DURABILITY: values.durability } as const;
  const outcomes: Outcome[] = [];
  const kept: string[] = [];
  let shared: Stage | undefined;
  const done = async (stage: Stage, keep: boolean): Promise<void> => {
    if (keep) kept.push(stage.dir);
    await stage.close(keep);
  };
  for (const scenario of chosen) {
    const reason = scenario.leftOut?.();
    if (reason) {
      print(`${scenario.name}: left out, ${reason}`);
      continue;
    }
    print(`${scenario.name}: ${scenario.about}`);
    const own = scenario.open !== undefined || scenario.settings !== undefined;
    const stage = own ? await open(scenario, settings) : (shared ?? (await Stage.open(settings)));
    if (!own) shared = stage;
    const outcome = await stage.perform({ ...scenario, shape: { ...scenario.shape, rate } }, seconds, (line) =>
      print(`  ${line}`),
    );
    outcomes.push(outcome);
    print(`  ${summary(outcome)}`);
    report(outcome);
    const red = !outcome.good;
    if (own || red) await done(stage, red || values.keep);
    // What is broken may stay broken: the next one begins with a system of its own.
    if (!own && red) shared = undefined;
  }
  if (shared) await done(shared, values.keep);
  table(outcomes);
  for (const dir of kept) print(`journals and logs: ${dir}`);
  return outcomes.every(({ good }) => good) ? 0 : 1;
}

const open = (scenario: Scenario, settings: object): Promise<Stage> =>
  (scenario.open ?? Stage.open)({ ...settings, ...scenario.settings });

function verdict({ good, violations }: Outcome): string {
  if (violations.length === 0) return good ? 'sound' : 'NOT FOUND';
  const kinds = [...new Set(violations.map(({ invariant }) => invariant))].join(' ');
  return good ? `found: ${kinds}` : `${violations.length} VIOLATIONS: ${kinds}`;
}

const ms = (value: number | undefined): string => (value === undefined ? '-' : `${Math.round(value)} ms`);

function summary(one: Outcome): string {
  const memory = Math.max(...one.peaks.values());
  return `${one.queued} queued, ${one.got} delivered, ${one.gaps} gaps told, recovery ${ms(one.recovery_ms)}, at most ${memory} MiB: ${verdict(one)}`;
}

/** The first few of each kind. */
function report({ violations, journal }: Outcome): void {
  const shown = new Map<string, number>();
  for (const { invariant, text } of violations) {
    const n = (shown.get(invariant) ?? 0) + 1;
    shown.set(invariant, n);
    if (n <= 5) print(`  ${invariant}: ${text}`);
  }
  for (const [invariant, n] of shown) if (n > 5) print(`  ${invariant}: ${n - 5} more`);
  if (journal) print(`  journal: ${journal}`);
}

function table(outcomes: Outcome[]): void {
  const rows = [
    ['scenario', 'queued', 'delivered', 'gaps', 'resynced', 'recovery', 'silence', 'MiB edge/nats', 'verdict'],
    ...outcomes.map((one) => [
      one.name,
      String(one.queued),
      String(one.got),
      String(one.gaps),
      String(one.resynced),
      ms(one.recovery_ms),
      ms(one.silence_ms),
      `${one.peaks.get('edge') ?? '-'}/${one.peaks.get('nats') ?? '-'}`,
      verdict(one),
    ]),
  ];
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  print('');
  for (const row of rows) print(row.map((cell, i) => cell.padEnd(widths[i]!)).join('  '));
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 2;
}
