/** The programs of README.md, docs/client.md and docs/push.md, run as they stand there. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { registerPerson } from '../env/people.ts';
import { blocks, ROOT } from './blocks.ts';

const run = promisify(execFile);
let env: Env;
let at: Addresses;
test.before(async () => {
  env = await startEnv();
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
});
test.after.always(() => env?.stop());

/** Saved in a folder that looks like this one, with the addresses of this system in place of the usual ones. */
async function program(text: string): Promise<string> {
  const dir = mkdtempSync(join(env.dir, 'program-'));
  try {
    for (const name of ['client', 'shared', 'node_modules', 'package.json'])
      symlinkSync(join(ROOT, name), join(dir, name));
    const file = join(dir, 'program.ts');
    writeFileSync(
      file,
      text.replaceAll('http://127.0.0.1:8080', at.apiUrl).replaceAll('ws://127.0.0.1:8081', at.edgeUrl),
    );
    const options = { cwd: dir, env: { PATH: process.env.PATH }, timeout: 60_000 };
    const { stdout, stderr } = await run(process.execPath, [file], options);
    return stdout + stderr;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

test('[M01] the program in README.md runs', async (t) => {
  const [text] = blocks('README.md', 'ts');
  const said = await program(text!);
  t.regex(said, /^durable as message 1$/m);
  t.regex(said, /^dan 1 lunch at noon\?$/m);
});

test('[M01] the program in docs/client.md runs', async (t) => {
  const [text] = blocks('docs/client.md', 'ts');
  t.regex(await program(text!), /^ben 1 lunch at noon\?\n1 false$/m);
});

test('[N01] the program in docs/push.md subscribes a browser', async (t) => {
  const [text] = blocks('docs/push.md', 'ts');
  const session = await registerPerson(at);
  const said = await program(`
    const api = '${at.apiUrl}';
    const token = '${session.access_token}';
    const registration = { pushManager: { async subscribe(options: { applicationServerKey: string }) {
      const endpoint = 'https://push.example/' + options.applicationServerKey;
      return { toJSON: () => ({ endpoint, keys: { p256dh: 'p', auth: 'a' } }) };
    } } };
    ${text}
    console.log(endpoint, Object.keys(keys).join());
  `);
  // An uncompressed point of P-256.
  t.regex(said, /^https:\/\/push\.example\/B[\w-]{86} p256dh,auth$/m);
});
