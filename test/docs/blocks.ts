/** The fenced blocks of the documents. One that is `checked` can't be run by a test; every other one is. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Block {
  file: string;
  line: number;
  language: string;
  /** The words after the language. */
  mark: string;
  text: string;
}

export const FILES: readonly string[] = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
].sort();

export const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

export function blocksOf(file: string): Block[] {
  const text = read(file);
  return [...text.matchAll(/^```(\S*) ?(.*)\n([\s\S]*?)^```$/gm)].map((found) => ({
    file,
    line: text.slice(0, found.index).split('\n').length,
    language: found[1]!,
    mark: found[2]!,
    text: found[3]!,
  }));
}

/** Those of a language that are to be run. */
export const blocks = (file: string, language = 'sh'): string[] =>
  blocksOf(file)
    .filter((block) => block.language === language && block.mark === '')
    .map(({ text }) => text);
