/** Lists the functions that spend most CPU time themselves, from the CPU profiles that Node writes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { bar, roundTo, table } from './report.ts';

interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  samples: number[];
  timeDeltas: number[];
}
const TOP = 10;
/** The first seconds of a profile are left out: loading modules and connecting is not part of the measurement. */
const STARTUP_US = 3_000_000;

/** Returns one table for each profile in the directory. */
export function hottestFunctions(directory: string): string[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.cpuprofile'))
    .map((file) => tableOf(JSON.parse(readFileSync(join(directory, file), 'utf8')) as CpuProfile));
}

function tableOf({ nodes, samples, timeDeltas }: CpuProfile): string {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]));
  const selfUs = new Map<string, number>();
  let busyUs = 0;
  let elapsedUs = 0;
  samples.forEach((id, i) => {
    const name = names.get(id)!;
    elapsedUs += timeDeltas[i]!;
    if (name === '(idle)' || elapsedUs < STARTUP_US) return;
    busyUs += timeDeltas[i]!;
    selfUs.set(name, (selfUs.get(name) ?? 0) + timeDeltas[i]!);
  });
  const runs = (service: string): boolean => [...selfUs.keys()].some((name) => name.includes(`services/${service}/`));
  const processName = runs('fanout') ? 'workers' : runs('edge') ? 'edge' : 'process';
  const rows = [...selfUs]
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, TOP)
    .map(([name, us]) => [name, roundTo((us / busyUs) * 100, 1), bar(us, busyUs)]);
  return table([processName, '% of busy', ''], rows);
}

function nameOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const file = url.replace(/^.*\/(?=node_modules|services|shared|nats\/|client)/, '').replace('node_modules/', '');
  return `${functionName || '(anonymous)'}${file ? ` ${file}:${lineNumber + 1}` : ''}`;
}
