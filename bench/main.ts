/** Runs `npm run bench -- <workload>`: measures, prints progress, a table and one line of JSON. */
import { formatConnects, measureConnects } from './connects.ts';
import { hottestFunctions } from './cpu-profile.ts';
import { measureDirectThroughput } from './direct-throughput.ts';
import {
  formatDirectThroughput,
  formatIdleSockets,
  formatLatencyUnderLoad,
  formatReconnectDrain,
} from './format-results.ts';
import { measureIdleSockets } from './idle.ts';
import { measureLatencyUnderLoad } from './latency-under-load.ts';
import { formatLogin, measureLogin } from './login.ts';
import { HELP, type Options, readOptions, type Workload } from './options.ts';
import { measureReconnectDrain } from './reconnect-drain.ts';
import { formatWebhookDelivery, measureWebhookDelivery } from './webhook-delivery.ts';

interface Outcome {
  /** Printed as JSON. */
  result: object & { void?: boolean };
  text: string;
  /** Messages that were lost, duplicated or out of order, and the like: a run with any of them has failed. */
  problems: string[];
}

const MEASURE = {
  'direct-throughput': async (options) => {
    const result = await measureDirectThroughput(options);
    return { result, text: formatDirectThroughput(result), problems: result.runs.flatMap((run) => run.wrong) };
  },
  'latency-under-load': async (options) => {
    const result = await measureLatencyUnderLoad(options);
    return { result, text: formatLatencyUnderLoad(result), problems: result.runs.flatMap((run) => run.wrong) };
  },
  'reconnect-drain': async (options) => {
    const result = await measureReconnectDrain(options);
    const problems = result.runs.flatMap(({ one, many }) => [...one.wrong, ...many.wrong]);
    return { result, text: formatReconnectDrain(result), problems };
  },
  'webhook-delivery': async (options) => {
    const result = await measureWebhookDelivery(options);
    return { result, text: formatWebhookDelivery(result), problems: result.runs.flatMap((run) => run.wrong) };
  },
  idle: async (options) => {
    const result = await measureIdleSockets(options);
    return { result: { void: false, ...result }, text: formatIdleSockets(result), problems: [] };
  },
  login: async (options) => {
    const result = await measureLogin(options);
    return { result, text: formatLogin(result), problems: result.wrong };
  },
  connects: async (options) => {
    const result = await measureConnects(options);
    return { result, text: formatConnects(result), problems: result.wrong };
  },
} satisfies Record<Workload, (options: Options) => Promise<Outcome>>;

/** @returns the exit code: 1 when something was lost, duplicated or out of order */
async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (!options) {
    process.stdout.write(HELP);
    return 0;
  }
  const { result, text, problems }: Outcome = await MEASURE[options.workload](options);
  options.log(`\n${text}`);
  if (options.cpuProf) for (const table of hottestFunctions(options.cpuProf)) options.log(`\n${table}`);
  for (const problem of problems) options.log(`WRONG: ${problem}`);
  if (result.void) options.log('VOID: the ceilings drifted by more than 10 %, the machine was not quiet');
  process.stdout.write(`${JSON.stringify(result)}\n`);
  return problems.length ? 1 : 0;
}

try {
  process.exit(await main());
} catch (error) {
  process.stderr.write(`bench: ${(error as Error).message}\n`);
  process.exit(2);
}
