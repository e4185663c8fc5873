/** The demo of `npm run demo` runs to its end. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test from 'ava';

const run = promisify(execFile);
const demo = (...words: string[]) => run(process.execPath, ['demo/main.ts', ...words], { timeout: 180_000 });

test('[O08] [O01] npm run demo tells its story to the end', async (t) => {
  const { stdout, stderr } = await demo();
  t.is(stderr, '');
  t.is(stdout.match(/✔/g)?.length, 9);
  t.regex(stdout, /nats consumer report INBOX_\d\d/);
});

test('npm run demo -- --help prints the options', async (t) => {
  t.regex((await demo('--help')).stdout, /--stay/);
});
