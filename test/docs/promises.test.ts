/** Holds docs/promises.md against the titles of the tests. */
import test from 'ava';
import { read } from './blocks.ts';
import { collectProofs, readPromises, renderPromises } from './promises.ts';

const page = read('docs/promises.md');
const proofs = collectProofs();

test('each promise id in a test title has its sentence in docs/promises.md', (t) => {
  const missing = [...proofs].filter(([id]) => !readPromises(page).has(id)).map(([id, files]) => `${id} (${files})`);
  t.deepEqual(missing, [], 'add a row with a sentence to docs/promises.md for these ids, then run `npm run docs`');
});

test('each promise of docs/promises.md is proved by a test', (t) => {
  const unproved = [...readPromises(page).keys()].filter((id) => !proofs.has(id));
  t.deepEqual(unproved, [], 'write a test whose title carries the id, or take the row out of docs/promises.md');
});

test('each promise of docs/promises.md has one row and ends its sentence', (t) => {
  const rows = page.match(/^\| [A-Z]\d\d \|/gm) ?? [];
  t.is(rows.length, readPromises(page).size, 'an id stands in two rows');
  for (const [id, sentence] of readPromises(page)) t.regex(sentence, /^[A-Z`].*\.$/, `${id} is not a sentence`);
});

test('docs/promises.md names the test files of each promise', (t) => {
  t.is(page, renderPromises(page, proofs), 'run `npm run docs`, which writes the column of tests');
});
