/** The shell examples of README and of the documents for client writers, run as they stand there, in order. */
import { execFile, execFileSync } from 'node:child_process';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { type Env, startEnv, toEnv } from '../env/index.ts';
import { blocks, ROOT } from './blocks.ts';

const run = promisify(execFile);

/** Prints what the replies are; stops at the first command that fails. */
async function shell(API: string, ...scripts: string[]): Promise<string> {
  const script = ['set -e -o pipefail', ...scripts].join('\n').replaceAll('http://127.0.0.1:8080', API);
  const PATH = `${dirname(process.execPath)}:${process.env.PATH}`;
  const options = { cwd: ROOT, env: { ...toEnv(env.config), API, HOME: process.env.HOME, PATH } };
  const { stdout, stderr } = await run('bash', ['-c', script], options);
  return stdout + stderr;
}

let env: Env;
let API: string;
test.before(async () => {
  env = await startEnv({ OTP_DEV_CODE: '123456', WEBHOOK_ALLOW_CIDRS: ['127.0.0.0/8'] });
  API = (await env.start('ingest', 'fanout', 'history', 'api')).apiUrl;
});
test.after.always(() => env?.stop());

/** The blocks of docs/api.md up to the first message, with other people in them. */
const apiOf = (suffix: string): string[] =>
  blocks('docs/api.md')
    .slice(0, 3)
    .map((text) => text.replaceAll('"alice"', `"alice_${suffix}"`).replaceAll('bob@', `bob_${suffix}@`));

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

withTools('[A01] [A03] [A04] [A05] [A07] [A11] [A12] the examples of docs/accounts.md run', async (t) => {
  const said = await shell(API, ...blocks('docs/accounts.md'));
  t.false(said.includes('"error"'), said);
  t.regex(said, /"code_sent"[\s\S]*BEGIN PUBLIC KEY[\s\S]*"keys":\[[\s\S]*\{"data":\{"revoked":1\}\}\n$/);
});

withTools('[A02] the example of a verified registration in docs/accounts.md runs', async (t) => {
  const [functions] = blocks('docs/accounts.md');
  const other = await env.spawn('api', { AUTH_VERIFICATION: 'email' });
  const said = await shell(other.apiUrl, functions!, ...blocks('docs/accounts.md', 'bash'));
  t.regex(said, /^\{"data":\{"user":.*"access_token".*\n$/);
  await other.stop();
});

withTools('[H01] [K02] [K03] [K04] [K08] the examples of docs/api.md and docs/keys.md run', async (t) => {
  const said = await shell(API, ...blocks('docs/api.md'), ...blocks('docs/keys.md'));
  t.false(said.includes('"error"'), said);
  t.regex(said, /"status":"queued"[\s\S]*"ticket"[\s\S]*"one_time_prekey"[\s\S]*"hash"[\s\S]*"version":1/);
});

withTools('[M01] the examples of README.md run', async (t) => {
  const calls = blocks('README.md');
  const said = await shell(API, ...calls);
  t.false(said.includes('"error"'), said);
  t.regex(said, /"status":"queued"/);
});

withTools('[N01] the example of docs/push.md runs after those of docs/api.md', async (t) => {
  const said = await shell(API, ...apiOf('push'), ...blocks('docs/push.md'));
  t.regex(said, /"provider":"unifiedpush"/);
  t.false(said.includes('"error"'), said);
});

withTools('[P02] the examples of docs/payments.md run after those of docs/api.md', async (t) => {
  const said = await shell(API, ...apiOf('payments'), ...blocks('docs/payments.md').slice(1));
  t.false(said.includes('"error"'), said);
  t.regex(said, /"request_id":"PR_ID"/);
});

withTools('[W01] the examples of docs/webhooks.md run', async (t) => {
  const said = await shell(API, ...blocks('docs/webhooks.md'));
  t.false(said.includes('"error"'), said);
  t.regex(said, /"secret":"whsec_[\s\S]*"token":"swt_/);
});
