/** Checks that every file or folder that a document or a comment names exists. */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'ava';
import { FILES, ROOT, read } from './blocks.ts';

const FOLDERS = ['bench', 'client', 'demo', 'nats', 'services', 'shared', 'test'];
/** Names of folders with a path behind them, as in `nats/inbox/`, `services/api/index.ts` or `shared/async`. */
const PATH = new RegExp(`(?<![\\w./@[-])(?:${FOLDERS.join('|')})/[\\w./-]*\\w/?`, 'g');

const sources = FOLDERS.flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `${folder}/${name}`),
);
const commentsOf = (source: string): string => (source.match(/\/\*[\s\S]*?\*\/|\/\/.*$/gm) ?? []).join('\n');
const missingIn = (text: string): string[] => (text.match(PATH) ?? []).filter((path) => !existsSync(join(ROOT, path)));

test('every path in a document names an existing file or folder', (t) => {
  const missing = FILES.flatMap((file) => missingIn(read(file)).map((path) => `${file}: ${path}`));
  t.deepEqual(missing, [], 'name the new path, or take the mention out');
});

test('every link between documents leads to an existing file', (t) => {
  const links = FILES.flatMap((file) =>
    [...read(file).matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map(([, to]) => [file, to!] as const),
  );
  t.true(links.length > 50);
  const missing = links.filter(([file, to]) => !existsSync(join(ROOT, dirname(file), to)));
  t.deepEqual(missing, []);
});

test('every path in a comment of a source file names an existing file or folder', (t) => {
  const missing = sources.flatMap((file) =>
    missingIn(commentsOf(read(file)))
      .filter((path) => path.endsWith('.ts') || path.endsWith('/'))
      .map((path) => `${file}: ${path}`),
  );
  t.deepEqual(missing, [], 'name the new path, or take the mention out');
});

test('every file name in a comment of a source file names an existing file', (t) => {
  const names = new Set(sources.map((file) => file.split('/').at(-1)!));
  const missing = sources.flatMap((file) =>
    (commentsOf(read(file)).match(/(?<![\w./-])[\w-]+\.ts\b/g) ?? [])
      .filter((name) => !names.has(name))
      .map((name) => `${file}: ${name}`),
  );
  t.deepEqual(missing, [], 'name the file as it is called now');
});
