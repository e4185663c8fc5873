/** `npm run faults`: breaks things under load and checks from the clients' own logs that nothing was lost or doubled. */
import { parseArgs } from 'node:util';
import type { Config } from '../../shared/config/index.ts';
import { BOUNDS, type Bounds, type BoundsName } from './bounds.ts';
import { SHAPE } from './fleet.ts';
import { SCENARIOS } from './scenarios/index.ts';
import { RED } from './scenarios/red.ts';
import { SoakStage, soak } from './scenarios/soak.ts';
import { type Outcome, type Scenario, SERVICES, Stage } from './stage.ts';

const HELP = `npm run faults -- [--only <name>[,<name>]] [--seconds <n>] [--rate <n>] [--durability durable|fast] [--bounds real|tiny|both] [--prove | --soak] [--keep] [--list] [--help]

Starts a nats-server, a Postgres and one process for each service in a temporary directory, lets people talk through
the client library, breaks something, and checks from what every client sent, was told and got, and from history:
  I1 queued means delivered and in history   I2 no duplicate         I3 numbers without holes, in order
  I4 contiguous, or an explicit gap          I5 nothing that nobody sent   I7 bounded memory, and it recovers

  --only        scenarios to run, by name or beginning of a name
  --seconds     how long each has load, beside what the fault itself takes (default 8)
  --rate        messages that all clients together send each second (default ${SHAPE.rate})
  --durability  profile of the broker (default durable)
  --bounds      real: the defaults; tiny: caches, windows and queues that every batch fills, and two of each worker;
                both (default): every scenario once with each
  --prove       run instead what must be found: queued before the append, dedupe off, a power cut without fsync
  --keep        keep journals and logs also when all went well
  --soak        run instead half load with a SIGKILL every 20 s, and a power cut at the end; with --seconds 600
                (checked in rounds of a minute)
  --list        names and what they do
Exit code 1 when an invariant was violated (with --prove, when it was not found); the journals are kept then.
`;

/** The load of a round of the soak begins so long before its first kill (part of it), seconds. */
const ROUND_LEAD_S = 2;

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
const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function main(): Promise<number> {
  if (values.help) {
    print(HELP);
    return 0;
  }
  if (values.list) {
    for (const { name, about } of [...SCENARIOS, ...soak(1), ...RED]) print(`${name.padEnd(18)} ${about}`);
    return 0;
  }
  const seconds = Number(values.seconds);
  if (!(seconds >= 1 && seconds <= 600)) throw new Error('--seconds must be from 1 to 600');
  if (values.durability !== 'durable' && values.durability !== 'fast')
    throw new Error('--durability must be durable or fast');
  const rate = Number(values.rate ?? SHAPE.rate);
  if (!(rate >= 1 && rate <= 20_000)) throw new Error('--rate must be from 1 to 20000');
  const wanted = values.only?.split(',');
  const chosen = (values.soak ? soak(seconds) : values.prove ? RED : SCENARIOS).filter(
    ({ name }) => !wanted || wanted.some((one) => name.startsWith(one)),
  );
  if (chosen.length === 0) throw new Error(`no scenario is called ${values.only}; --list names them`);

  const outcomes: Outcome[] = [];
  const kept: string[] = [];
  for (const bounds of wantedBounds()) {
    print(`bounds: ${bounds}, ${BOUNDS[bounds].about}`);
    const system = new Systems(BOUNDS[bounds], { DURABILITY: values.durability }, kept);
    for (const scenario of chosen) {
      const reason = scenario.leftOut?.();
      if (reason) {
        print(`${scenario.name}: left out, ${reason}`);
        continue;
      }
      print(`${scenario.name}: ${scenario.about}`);
      const outcome = await system.perform(
        { ...scenario, shape: { ...scenario.shape, rate } },
        values.soak ? ROUND_LEAD_S : seconds,
      );
      outcomes.push({ ...outcome, name: bounds === 'real' ? outcome.name : `${outcome.name} (${bounds})` });
      print(`  ${summary(outcome)}`);
      report(outcome);
    }
    await system.close();
  }
  table(outcomes);
  for (const dir of kept) print(`journals and logs: ${dir}`);
  return outcomes.every(({ good }) => good) ? 0 : 1;
}

function wantedBounds(): BoundsName[] {
  // The systems that prove the checker are broken on purpose, each in one process.
  if (values.prove) return ['real'];
  if (values.bounds === 'both') return ['real', 'tiny'];
  if (values.bounds === 'real' || values.bounds === 'tiny') return [values.bounds];
  throw new Error('--bounds must be real, tiny or both');
}

/** The systems of one run with the same bounds: one that scenarios share, others for those that need their own. */
class Systems {
  readonly #bounds: Bounds;
  readonly #settings: Partial<Config>;
  readonly #kept: string[];
  #shared: Stage | undefined;

  /** Directories that are kept for somebody to read are added to `kept`. */
  constructor(bounds: Bounds, settings: Partial<Config>, kept: string[]) {
    this.#bounds = bounds;
    this.#settings = { ...bounds.settings, ...settings };
    this.#kept = kept;
  }

  async perform(scenario: Scenario, seconds: number): Promise<Outcome> {
    const own = scenario.open !== undefined || scenario.settings !== undefined;
    const stage = own ? await this.#open(scenario) : (this.#shared ?? (await this.#open()));
    if (!own) this.#shared = stage;
    const outcome = await stage.perform(scenario, seconds, (line) => print(`  ${line}`));
    const red = !outcome.good;
    if (own || red) await this.#done(stage, red || values.keep);
    // What is broken may stay broken: the next one begins with a system of its own.
    if (!own && red) this.#shared = undefined;
    return outcome;
  }

  async close(): Promise<void> {
    if (this.#shared) await this.#done(this.#shared, values.keep);
  }

  #open(scenario?: Scenario): Promise<Stage> {
    const settings = { ...this.#settings, ...scenario?.settings };
    const { workers } = this.#bounds;
    if (values.soak) return SoakStage.on(settings, workers);
    return scenario?.open?.(settings, workers) ?? Stage.open(settings, {}, SERVICES, workers);
  }

  async #done(stage: Stage, keep: boolean): Promise<void> {
    if (keep) this.#kept.push(stage.dir);
    await stage.close(keep);
  }
}

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
    [
      'scenario',
      'queued',
      'delivered',
      'gaps',
      'resynced',
      'repeats',
      'recovery',
      'silence',
      'MiB edge/nats',
      'verdict',
    ],
    ...outcomes.map((one) => [
      one.name,
      String(one.queued),
      String(one.got),
      String(one.gaps),
      String(one.resynced),
      String(one.repeats),
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
