/**
 * The payments part of W7: verified events a second, each acknowledged once it is durable, against a bare HTTP server that
 * inserts a row for each into the same Postgres. `node bench/payments.ts [events] [durable|fast]`
 */
import { fork } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Agent, request } from 'undici';
import { paymentsSecret } from '../shared/auth/derived.ts';
import { uuid7 } from '../shared/ids.ts';
import { cpuPer, cpuTimes } from './cpu.ts';
import { table } from './report.ts';
import { type Profile, startSystem } from './system.ts';

const LANES = 64;
const [events = 5_000, profile = 'durable'] = [
  Number(process.argv[2] ?? 5_000),
  process.argv[3] as Profile | undefined,
];
const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** All of them, LANES at a time; answers that are none are counted. */
async function post(url: string, secret: string, from: string): Promise<{ per_sec: number; refused: number }> {
  const dispatcher = new Agent({ connections: LANES });
  let next = 0;
  let refused = 0;
  const lane = async (): Promise<void> => {
    while (next < events) {
      const n = next++;
      const event = n % 2 ? 'requests.accept' : 'requests.create';
      const body = JSON.stringify({
        type: event,
        id: `${from}_${n}`,
        data: { id: `${from}_${n >> 1}`, transfer_id: 'T' },
      });
      const ts = String(Math.floor(Date.now() / 1_000));
      const sign = createHmac('sha256', secret)
        .update(ts + event + body)
        .digest('hex');
      const headers = { 'x-webhook-event': event, 'x-webhook-ts': ts, 'x-webhook-sign': sign };
      const reply = await request(url, { method: 'POST', dispatcher, headers, body });
      await reply.body.dump();
      if (reply.statusCode !== 202) refused++;
    }
  };
  const begun = performance.now();
  await Promise.all(Array.from({ length: LANES }, lane));
  const per_sec = Math.round(events / ((performance.now() - begun) / 1_000));
  await dispatcher.close();
  return { per_sec, refused };
}

const system = await startSystem({ profile, say });
const child = fork(fileURLToPath(new URL('./ceiling/payments.ts', import.meta.url)), [
  system.tree.config.DATABASE_URL!,
]);
try {
  const { port } = await new Promise<{ port: number }>((resolve) => child.once('message', resolve));
  const secret = paymentsSecret(system.tree.config)!;
  const bare = (from: string) => post(`http://127.0.0.1:${port}/`, secret, from);
  await post(`${system.api}/payments/webhooks`, secret, 'warm');
  const first = await bare('one');
  const applied = async (): Promise<number> =>
    (await system.db.query<{ n: number }>('select count(*) as n from payment_events where applied_at is not null'))[0]!
      .n;
  const before = cpuTimes(system.processes);
  const begun = performance.now();
  const ours = await post(`${system.api}/payments/webhooks`, secret, `PR_${uuid7()}`);
  while ((await applied()) < 2 * events) await new Promise((resolve) => setTimeout(resolve, 20));
  const applied_per_sec = Math.round(events / ((performance.now() - begun) / 1_000));
  const cpu_us = cpuPer(before, cpuTimes(system.processes), events);
  const second = await bare('two');
  const ceiling = Math.round((first.per_sec + second.per_sec) / 2);
  const ratio = Math.round((ours.per_sec / ceiling) * 100) / 100;
  const drift = Math.abs(first.per_sec - second.per_sec) / ceiling;
  const wrong = ours.refused ? [`${ours.refused} events were refused`] : [];
  const rows = [
    ['bare HTTP and insert', ceiling, 1],
    [`acknowledged, ${profile}`, ours.per_sec, ratio],
    ['applied to their requests', applied_per_sec, Math.round((applied_per_sec / ceiling) * 100) / 100],
  ];
  say(table(['', 'events/s', 'of ceiling'], rows));
  const result = {
    bench: 'W7 payments',
    profile,
    events,
    ceiling,
    acknowledged_per_sec: ours.per_sec,
    ratio,
    applied_per_sec,
  };
  process.stdout.write(`${JSON.stringify({ ...result, cpu_us, drift, void: drift > 0.1, wrong })}\n`);
  if (wrong.length) process.exitCode = 1;
} finally {
  child.disconnect();
  await system.stop();
}
