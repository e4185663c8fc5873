/** The shell examples of README and of the documents for client writers, run as they stand there, in order. */
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { type Env, startEnv } from '../env/index.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);

/** The blocks of a language; of `sh` by default, which want nothing but `OTP_DEV_CODE`. */
const blocks = (file: string, language = 'sh'): string[] =>
  [...readFileSync(join(ROOT, file), 'utf8').matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(
    ([, text]) => text!,
  );

/** Prints what the replies are; stops at the first command that fails. */
async function shell(API: string, ...scripts: string[]): Promise<string> {
  const script = ['set -e -o pipefail', ...scripts].join('\n').replaceAll('http://127.0.0.1:8080', API);
  const env = { API, HOME: process.env.HOME, PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
  const { stdout, stderr } = await run('bash', ['-c', script], { env });
  return stdout + stderr;
}

let env: Env;
let API: string;
test.before(async () => {
  env = await startEnv({ OTP_DEV_CODE: '123456' });
  API = (await env.start('ingest', 'fanout', 'history', 'api')).apiUrl;
});
test.after.always(() => env?.stop());

const tools = (() => {
  try {
    execFileSync('bash', ['-c', 'command -v curl && command -v awk'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();
// The tools that the examples use, where this machine has them.
const withTools = tools ? test : test.skip;

withTools('[A01] [A03] [A04] [A05] [A07] [A11] [A12] the examples of docs/accounts.md do what they say', async (t) => {
  const said = await shell(API, ...blocks('docs/accounts.md'));
  t.false(said.includes('"error"'), said);
  t.regex(said, /"code_sent"[\s\S]*BEGIN PUBLIC KEY[\s\S]*"keys":\[[\s\S]*\{"data":\{"revoked":1\}\}\n$/);
});

withTools('[A02] the example of a registration that is verified', async (t) => {
  const [functions] = blocks('docs/accounts.md');
  const other = await env.spawn('api', { AUTH_VERIFICATION: 'email' });
  const said = await shell(other.apiUrl, functions!, ...blocks('docs/accounts.md', 'bash'));
  t.regex(said, /^\{"data":\{"user":.*"access_token".*\n$/);
  await other.stop();
});

withTools('[H01] [K02] [K03] [K04] [K08] the examples of docs/api.md and docs/keys.md', async (t) => {
  const said = await shell(API, ...blocks('docs/api.md'), ...blocks('docs/keys.md'));
  t.false(said.includes('"error"'), said);
  t.regex(said, /"status":"queued"[\s\S]*"ticket"[\s\S]*"one_time_prekey"[\s\S]*"hash"[\s\S]*"version":1/);
});

withTools('[M01] the examples of README', async (t) => {
  const [, ...calls] = blocks('README.md');
  const said = await shell(API, ...calls);
  t.false(said.includes('"error"'), said);
  t.regex(said, /"status":"queued"/);
});
