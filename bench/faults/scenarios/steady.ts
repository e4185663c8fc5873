/** Scenario without a fault: under steady load no worker may lose its partition, and no message may be delivered twice. */
import type { FaultSystem } from '../fault-system.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';

/** Counts the take-overs of partitions in all processes, by the labels of the metric. */
async function countTakeovers(system: FaultSystem): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const { opsUrl } of new Set(system.processes.values())) {
    const text = await (await fetch(`${opsUrl}/metrics`)).text();
    for (const [, labels, value] of text.matchAll(/^sealwire_takeovers_total\{(.*)\} (\d+)$/gm))
      counts.set(labels!, (counts.get(labels!) ?? 0) + Number(value));
  }
  return counts;
}

export const STEADY: Scenario[] = [
  {
    name: 'steady',
    description:
      'a thousand messages of 200 devices in flight all the time: no partition changes hands, nothing is delivered twice',
    shape: { pairs: 100, groups: 0, secondDevices: 0, wanderers: 0, inFlight: 5 },
    settings: { PIN_TIMEOUT_MS: 2_000 },
    // The broker keeps the writes of the last seconds in memory: at this rate hundreds of MiB.
    memoryMiB: 2_048,
    async run(system: FaultSystem, { fleet, loadFor, log }: ScenarioContext) {
      await loadFor(0.2);
      const before = await countTakeovers(system);
      fleet.rate = 20_000;
      await loadFor(1);
      const takenOver = [...(await countTakeovers(system))].filter(
        ([labels, count]) => count > (before.get(labels) ?? 0),
      );
      const repeats = fleet.devices.reduce((sum, { repeatCount }) => sum + repeatCount, 0);
      log(`${takenOver.length} partitions taken over, ${repeats} repeats`);
      if (takenOver.length)
        throw new Error(
          `partitions were taken over under steady load: ${takenOver.map(([labels]) => labels).join('; ')}`,
        );
      if (repeats) throw new Error(`${repeats} messages came twice under steady load`);
    },
  },
];
