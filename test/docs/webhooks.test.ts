/** The receivers that docs/webhooks.md shows, run as they stand there against real deliveries. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { WebhookSystem } from '../webhooks/system.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const text = readFileSync(join(ROOT, 'docs/webhooks.md'), 'utf8');
const example = (language: string): string => new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``).exec(text)![1]!;

let system: WebhookSystem;
const children: ChildProcess[] = [];
test.before(async () => {
  system = await WebhookSystem.start();
  await system.startSender();
});
test.after.always(async () => {
  for (const child of children) child.kill('SIGKILL');
  await system?.stop();
});

function there(command: string, ...args: string[]): string | undefined {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return undefined;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
const listens = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true));
    socket.on('error', () => resolve(false)).on('connect', () => socket.destroy());
  });

/** Runs a receiver, has two events delivered, one of them forged; returns what it printed. */
async function receive(command: string, args: string[]): Promise<{ printed: string; forged: number }> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/hook`;
  const endpoint = await system.createEndpoint({ url, event_types: ['webhook.test'] });
  const child = spawn(command, args, {
    cwd: ROOT,
    env: {
      PATH: process.env.PATH,
      PORT: String(port),
      WEBHOOK_SECRET: endpoint.secret,
      WEBHOOK_PUBLIC_KEY: endpoint.public_key,
    },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  children.push(child);
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    printed += chunk;
  });
  await system.until(() => listens(port));
  await system.api.ask('webhooks.endpoints.test', { token: system.admin, id: endpoint.id, body: {} });
  await system.until(async () => printed.includes(endpoint.id));
  await system.waitUntilNone(endpoint.id);
  const { data } = await system.api.ask('webhooks.attempts.list', { token: system.admin, id: endpoint.id });
  if (data.items[0]?.outcome !== 'delivered') throw new Error('it did not answer 2xx');
  const headers = {
    'webhook-id': 'x',
    'webhook-timestamp': String(Math.floor(Date.now() / 1_000)),
    'webhook-signature': `v1,${'A'.repeat(43)}= v1a,${'A'.repeat(86)}==`,
  };
  const { status: forged } = await fetch(url, { method: 'POST', headers, body: '{"type":"forged","data":{}}' });
  child.kill();
  return { printed, forged };
}

test('[W03] the JavaScript receiver in docs/webhooks.md verifies deliveries', async (t) => {
  const { printed, forged } = await receive(process.execPath, ['--input-type=module', '-e', example('js')]);
  t.regex(printed, /webhook\.test/);
  t.is(forged, 401);
});

// Other languages where this machine has them.
if (there('python3', '-c', 'import sys; assert sys.version_info >= (3, 9)') !== undefined)
  test('[W03] the Python receiver in docs/webhooks.md verifies deliveries', async (t) => {
    const { printed, forged } = await receive('python3', ['-c', example('python')]);
    t.regex(printed, /webhook\.test/);
    t.is(forged, 401);
  });

if (there('javac', '--version')?.match(/javac (1[7-9]|[2-9]\d)/))
  test('[W03] the Java receiver in docs/webhooks.md verifies deliveries with the public key', async (t) => {
    const file = join(system.env.dir, 'Hook.java');
    writeFileSync(file, example('java'));
    const { printed, forged } = await receive('java', [file]);
    t.regex(printed, /webhook\.test/);
    t.is(forged, 401);
  });
