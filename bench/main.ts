/** `npm run bench -- W1 …`: measures, prints progress, a table and one line of JSON. */
import { connects, showConnects } from './connects.ts';
import { hottest } from './hot.ts';
import { idle } from './idle.ts';
import { login, showLogin } from './login.ts';
import { HELP, readOptions } from './options.ts';
import { showIdle, showW1, showW2, showW3 } from './show.ts';
import { w1 } from './w1.ts';
import { w2 } from './w2.ts';
import { w3 } from './w3.ts';
import { showW7, w7 } from './w7.ts';

interface Outcome {
  result: object & { void?: boolean };
  text: string;
  wrong: string[];
}

async function measure(options: NonNullable<ReturnType<typeof readOptions>>): Promise<Outcome> {
  switch (options.what) {
    case 'W1': {
      const result = await w1(options);
      return { result, text: showW1(result), wrong: result.runs.flatMap((run) => run.wrong) };
    }
    case 'W2': {
      const result = await w2(options);
      return { result, text: showW2(result), wrong: result.runs.flatMap((run) => run.wrong) };
    }
    case 'W3': {
      const result = await w3(options);
      return {
        result,
        text: showW3(result),
        wrong: result.runs.flatMap(({ one, many }) => [one, many].flatMap((d) => d.wrong)),
      };
    }
    case 'login': {
      const result = await login(options);
      return { result, text: showLogin(result), wrong: result.wrong };
    }
    case 'connects': {
      const result = await connects(options);
      return { result, text: showConnects(result), wrong: result.wrong };
    }
    case 'W7': {
      const result = await w7(options);
      return { result, text: showW7(result), wrong: result.runs.flatMap((run) => run.wrong) };
    }
    case 'idle': {
      const result = await idle(options);
      return { result: { void: false, ...result }, text: showIdle(result), wrong: [] };
    }
  }
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (!options) {
    process.stdout.write(HELP);
    return 0;
  }
  const { result, text, wrong } = await measure(options);
  options.say(`\n${text}`);
  if (options.cpuProf) for (const one of hottest(options.cpuProf)) options.say(`\n${one}`);
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
