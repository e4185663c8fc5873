/** Nothing breaks: steady load in large batches, during which no worker may lose its partition and nothing may come twice. */
import type { Act, Scenario, Stage } from '../stage.ts';

/** Counts take-overs of partitions in all processes, by the labels of the metric. */
async function takeovers(stage: Stage): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const { opsUrl } of new Set(stage.processes.values())) {
    const text = await (await fetch(`${opsUrl}/metrics`)).text();
    for (const [, labels, value] of text.matchAll(/^sealwire_takeovers_total\{(.*)\} (\d+)$/gm))
      counts.set(labels!, (counts.get(labels!) ?? 0) + Number(value));
  }
  return counts;
}

export const STEADY: Scenario[] = [
  {
    name: 'steady',
    about:
      'a thousand messages of 200 devices in flight all the time: nobody takes a partition over, nothing comes twice',
    shape: { pairs: 100, groups: 0, second: 0, restless: 0, inFlight: 5 },
    settings: { PIN_TIMEOUT_MS: 2_000 },
    // The broker keeps what was written in the last seconds in memory: at this rate hundreds of MiB.
    memoryMiB: 2_048,
    async run(stage: Stage, { fleet, go, say }: Act) {
      await go(0.2);
      const before = await takeovers(stage);
      fleet.rate = 20_000;
      await go(1);
      const taken = [...(await takeovers(stage))].filter(([labels, count]) => count > (before.get(labels) ?? 0));
      const repeats = fleet.actors.reduce((sum, one) => sum + one.repeats, 0);
      say(`${taken.length} partitions taken over, ${repeats} repeats`);
      if (taken.length) throw new Error(`taken over under steady load: ${taken.map(([labels]) => labels).join('; ')}`);
      if (repeats) throw new Error(`${repeats} messages came twice under steady load`);
    },
  },
];
