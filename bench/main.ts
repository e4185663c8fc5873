/** `npm run bench -- W1 …`: measures, prints progress, a table and one line of JSON. */
import { HELP, type Options, readOptions } from './options.ts';
import { bar, cpuTable, median, table } from './report.ts';
import { type W1Result, w1 } from './w1.ts';

function showW1({ runs, ceilings, summary, drift }: W1Result, { say }: Options): void {
  const whole = median(ceilings.map(({ msgs_per_sec }) => msgs_per_sec));
  say('');
  say(
    table(
      ['', 'msg/s', 'of ceiling', 'p50 ms', 'p99 ms', 'queued p50', 'queued p99', 'sustained', ''],
      [
        ...ceilings.map((one) => [
          'bare relay',
          one.msgs_per_sec,
          1,
          one.delivered.p50,
          one.delivered.p99,
          one.queued.p50,
          one.queued.p99,
          '',
          bar(one.msgs_per_sec, whole),
        ]),
        ...runs.map((one) => [
          one.durability,
          one.msgs_per_sec,
          one.ratio,
          one.delivered.p50,
          one.delivered.p99,
          one.queued.p50,
          one.queued.p99,
          one.sustained ? 'yes' : 'no',
          bar(one.msgs_per_sec, whole),
        ]),
      ],
    ),
  );
  for (const [profile, { msgs_per_sec, range, ratio }] of Object.entries(summary)) {
    say(`\n${profile}: median ${msgs_per_sec} msg/s (${range}), ${ratio} of the ceiling`);
    say(cpuTable(runs.findLast((run) => run.profile === profile)!.cpu_us));
  }
  say(`\nbare relay, ceilings apart by ${(drift * 100).toFixed(1)} %`);
  say(cpuTable(ceilings.at(-1)!.cpu_us));
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (!options) {
    process.stdout.write(HELP);
    return 0;
  }
  const result = await w1(options);
  showW1(result, options);
  const wrong = result.runs.flatMap((run) => run.wrong);
  for (const one of wrong) options.say(`WRONG: ${one}`);
  if (result.void) options.say('VOID: the ceilings drifted by more than 10 %, the machine was not quiet');
  process.stdout.write(`${JSON.stringify(result)}\n`);
  return wrong.length ? 1 : 0;
}

try {
  process.exit(await main());
} catch (error) {
  process.stderr.write(`bench: ${(error as Error).message}\n`);
  process.exit(2);
}
