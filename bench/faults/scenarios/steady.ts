/** Nothing breaks: steady load in large batches, during which no worker may lose its partition and nothing may come twice. */
import type { Act, Scenario, Stage } from '../stage.ts';

/** How often workers have taken a partition over, in all processes. */
async function takeovers(stage: Stage): Promise<number> {
  let sum = 0;
  for (const { opsUrl } of new Set(stage.processes.values())) {
    const text = await (await fetch(`${opsUrl}/metrics`)).text();
    for (const [, value] of text.matchAll(/^sealwire_takeovers_total\{.*\} (\d+)$/gm)) sum += Number(value);
  }
  return sum;
}

export const STEADY: Scenario[] = [
  {
    name: 'steady',
    about:
      'two hundred devices send as fast as they are answered: no worker takes a partition over, nothing comes twice',
    shape: { pairs: 100, groups: 0, second: 0, restless: 0 },
    async run(stage: Stage, { fleet, go, say }: Act) {
      await go(0.2);
      const before = await takeovers(stage);
      fleet.rate = 20_000;
      await go(1);
      const taken = (await takeovers(stage)) - before;
      const repeats = fleet.actors.reduce((sum, one) => sum + one.repeats, 0);
      say(`${taken} take-overs, ${repeats} repeats`);
      if (taken) throw new Error(`${taken} partitions were taken over under steady load`);
      if (repeats) throw new Error(`${repeats} messages came twice under steady load`);
    },
  },
];
