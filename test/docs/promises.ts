/** Collects which test files prove which promise, and writes them into the table of docs/promises.md (`npm run docs`). */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PAGE = join(ROOT, 'docs/promises.md');
const ROW = /^\| ([A-Z]\d\d) \| (.+?) \|.*\|$/;

/** @returns the promises of the page, id to sentence */
export const readPromises = (page: string): Map<string, string> =>
  new Map(
    page
      .split('\n')
      .map((line) => ROW.exec(line))
      .filter((row) => row !== null)
      .map(([, id, sentence]) => [id!, sentence!]),
  );

/** @returns id to the names of the test files (without `test/` and `.test.ts`) whose titles carry it, sorted */
export function collectProofs(): Map<string, string[]> {
  const proofs = new Map<string, string[]>();
  const names = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' });
  for (const name of names.filter((file) => file.endsWith('.test.ts')).sort()) {
    const text = readFileSync(join(ROOT, 'test', name), 'utf8');
    for (const id of new Set([...text.matchAll(/\[([A-Z]\d\d)\]/g)].map(([, found]) => found!)))
      proofs.set(id, [...(proofs.get(id) ?? []), name.replace('.test.ts', '')]);
  }
  return proofs;
}

/** @returns the page with its column of tests made anew; sentences stay as they are */
export function renderPromises(page: string, proofs: ReadonlyMap<string, readonly string[]>): string {
  const link = (name: string): string => `[${name}](../test/${name}.test.ts)`;
  const render = (line: string): string => {
    const [, id, sentence] = ROW.exec(line) ?? [];
    return id ? `| ${id} | ${sentence} | ${(proofs.get(id) ?? []).map(link).join(', ')} |` : line;
  };
  return page.split('\n').map(render).join('\n');
}

if (import.meta.main) writeFileSync(PAGE, renderPromises(readFileSync(PAGE, 'utf8'), collectProofs()));
