/**
 * Measures inbound payments: verified events a second, each acknowledged once it is durable, against a bare HTTP server
 * that inserts a row for each into the same Postgres. `node bench/payments.ts [events] [durable|fast]`
 */
import { createHmac } from 'node:crypto';
import { Agent, request } from 'undici';
import { sleep } from '../shared/async/sleep.ts';
import { paymentsSecret } from '../shared/auth/derived.ts';
import { uuid7 } from '../shared/ids.ts';
import { cpuPerUnit, cpuTimes } from './cpu.ts';
import { forkModule, nextMessage } from './fork-module.ts';
import { MAX_DRIFT, roundTo, table } from './report.ts';
import { type Profile, startBenchSystem } from './system.ts';

/** Requests at once. */
const CONCURRENCY = 64;
const POLL_MS = 20;
const eventCount = Number(process.argv[2] ?? 5_000);
const profile = (process.argv[3] ?? 'durable') as Profile;
const log = (line: string): void => void process.stderr.write(`${line}\n`);

/** Posts all events, CONCURRENCY at a time. @param idPrefix makes the ids of this series unique */
async function postEvents(
  url: string,
  secret: string,
  idPrefix: string,
): Promise<{ per_sec: number; refused: number }> {
  const dispatcher = new Agent({ connections: CONCURRENCY });
  let next = 0;
  let refused = 0;
  const postUntilDone = async (): Promise<void> => {
    while (next < eventCount) {
      const n = next++;
      const event = n % 2 ? 'requests.accept' : 'requests.create';
      const data = { id: `${idPrefix}_${n >> 1}`, transfer_id: 'T' };
      const body = JSON.stringify({ type: event, id: `${idPrefix}_${n}`, data });
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
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: CONCURRENCY }, postUntilDone));
  const per_sec = Math.round(eventCount / ((performance.now() - startedAt) / 1_000));
  await dispatcher.close();
  return { per_sec, refused };
}

const system = await startBenchSystem({ profile, log });
const bareServer = forkModule('./ceiling/payment-inserts.ts', system.localSystem.config.DATABASE_URL!);
try {
  const { port } = await nextMessage<{ port: number }>(bareServer);
  const secret = paymentsSecret(system.localSystem.config)!;
  const url = `${system.api}/payments/webhooks`;
  const measureCeiling = (idPrefix: string) => postEvents(`http://127.0.0.1:${port}/`, secret, idPrefix);
  const countApplied = async (): Promise<number> => {
    const sql = 'select count(*) as n from payment_events where applied_at is not null';
    return (await system.db.query<{ n: number }>(sql))[0]!.n;
  };
  await postEvents(url, secret, 'warm');
  const first = await measureCeiling('one');
  const before = cpuTimes(system.processes);
  const startedAt = performance.now();
  const measured = await postEvents(url, secret, `PR_${uuid7()}`);
  // The events of the warm-up are applied, too.
  while ((await countApplied()) < 2 * eventCount) await sleep(POLL_MS);
  const applied_per_sec = Math.round(eventCount / ((performance.now() - startedAt) / 1_000));
  const cpu_us = cpuPerUnit(before, cpuTimes(system.processes), eventCount);
  const second = await measureCeiling('two');
  const ceiling = Math.round((first.per_sec + second.per_sec) / 2);
  const ratio = roundTo(measured.per_sec / ceiling, 2);
  const drift = Math.abs(first.per_sec - second.per_sec) / ceiling;
  const wrong = measured.refused ? [`${measured.refused} events were refused`] : [];
  const rows = [
    ['bare HTTP and insert', ceiling, 1],
    [`acknowledged, ${profile}`, measured.per_sec, ratio],
    ['applied to their requests', applied_per_sec, roundTo(applied_per_sec / ceiling, 2)],
  ];
  log(table(['', 'events/s', 'of ceiling'], rows));
  const result = {
    bench: 'W7 payments',
    profile,
    events: eventCount,
    ceiling,
    acknowledged_per_sec: measured.per_sec,
    ratio,
    applied_per_sec,
  };
  process.stdout.write(`${JSON.stringify({ ...result, cpu_us, drift, void: drift > MAX_DRIFT, wrong })}\n`);
  if (wrong.length) process.exitCode = 1;
} finally {
  bareServer.disconnect();
  await system.close();
}
