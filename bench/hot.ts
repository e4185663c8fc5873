/** The functions that take most time by themselves, from the CPU profiles that Node writes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { bar, table } from './report.ts';

interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  samples: number[];
  timeDeltas: number[];
}
const TOP = 10;
/** Loading modules and connecting is not what is measured. */
const START_US = 3_000_000;

/** One table for each profile in the directory. */
export function hottest(directory: string): string[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.cpuprofile'))
    .map((file) => hot(JSON.parse(readFileSync(join(directory, file), 'utf8')) as CpuProfile));
}

function hot({ nodes, samples, timeDeltas }: CpuProfile): string {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]));
  const self = new Map<string, number>();
  let busy = 0;
  let at = 0;
  samples.forEach((id, i) => {
    const name = names.get(id)!;
    at += timeDeltas[i]!;
    if (name === '(idle)' || at < START_US) return;
    busy += timeDeltas[i]!;
    self.set(name, (self.get(name) ?? 0) + timeDeltas[i]!);
  });
  const service = ['edge', 'fanout'].filter((one) =>
    [...self.keys()].some((name) => name.includes(`services/${one}/`)),
  );
  const rows = [...self]
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, TOP)
    .map(([name, us]) => [name, Math.round((us / busy) * 1_000) / 10, bar(us, busy)]);
  return table([service.includes('fanout') ? 'workers' : (service[0] ?? 'process'), '% of busy', ''], rows);
}

function nameOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const where = url.replace(/^.*\/(?=node_modules|services|shared|nats\/|client)/, '').replace('node_modules/', '');
  return `${functionName || '(anonymous)'}${where ? ` ${where}:${lineNumber + 1}` : ''}`;
}
