/** What the payments service's events must be, and what becomes of those that are not. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import fc from 'fast-check';
import { PAYMENTS } from '../../nats/topology.ts';
import { type Env, type Started, startEnv } from '../env/index.ts';
import { paymentEvent, SECRET, sendEvent, signEvent, type Tampering, unixSeconds } from './fake-service.ts';
import { createId } from './people.ts';

let env: Env;
let at: Started;

test.before(async () => {
  env = await startEnv({ PAYMENTS_WEBHOOK_SECRET: SECRET, PAYMENTS_MAX_BODY_BYTES: 2_000 });
  at = await env.start('history', 'fanout', 'ingest', 'payments-webhook', 'api');
});
test.after.always(() => env?.stop());

/** Events in the stream, and rows of events. */
async function stored(): Promise<[number, number]> {
  const jsm = await jetstreamManager(await env.nats('admin'));
  const [{ state }, [rows]] = await Promise.all([
    jsm.streams.info(PAYMENTS),
    env.db.query<{ n: number }>('select count(*) as n from payment_events'),
  ]);
  return [state.last_seq, rows!.n];
}
/** Of `sealwire_payment_webhooks_total`. */
async function counted(outcome: string): Promise<number> {
  const text = await (await fetch(`${at.opsUrl}/metrics`)).text();
  return Number(new RegExp(`sealwire_payment_webhooks_total\\{outcome="${outcome}"\\} (\\d+)`).exec(text)?.[1] ?? 0);
}

test.serial('[P01] a signed event is accepted once it is durable, whatever else its body contains', async (t) => {
  const body = paymentEvent('create', 'PR_1', { amount: 1200, currency: 'EUR', note: 'für 🦭' }, 'evt_1');
  t.deepEqual(await sendEvent(at.apiUrl, body), { status: 202, data: { received: true, duplicate: false } } as never);
  await env.settle();
  const [event] = await env.db.query('select * from payment_events where dedupe_key = $1', ['id:evt_1']);
  t.like(event, { type: 'requests.create', request_id: 'PR_1', state: 'pending', moved: true });
  t.truthy(event!.applied_at);
  t.notRegex(JSON.stringify(event), /1200|🦭/, 'what does not concern us is not kept');
  const upper = { ts: unixSeconds(), event: 'requests.accept', raw: JSON.stringify(paymentEvent('accept', 'PR_1')) };
  const sign = signEvent(upper.ts, upper.event, upper.raw).toUpperCase();
  t.is(
    (await sendEvent(at.apiUrl, { type: upper.event }, { ...upper, sign })).status,
    202,
    'hex in capitals is the same',
  );
});

test.serial('[P01] the signature covers the raw body, including spaces and key order', async (t) => {
  const raw = '{ "data" : {"transfer_id":"TR_9",  "id":"PR_9"},\n "type":"requests.accept" }';
  t.is((await sendEvent(at.apiUrl, { type: 'requests.accept' }, { raw })).status, 202);
  t.is(
    (
      await sendEvent(
        at.apiUrl,
        { type: 'requests.accept' },
        { raw: `${raw} `, sign: signEvent(unixSeconds(), 'requests.accept', raw) },
      )
    ).status,
    401,
  );
});

const body = paymentEvent('accept', 'PR_bad', { transfer_id: 'TR_bad' }, 'evt_bad');
const raw = JSON.stringify(body);
const off = (sec: number): Tampering => ({ ts: String(Math.floor(Date.now() / 1000) + sec) });
const CASES: [what: string, how: () => Tampering, status: number, outcome: string][] = [
  ['another secret', () => ({ secret: 'wrong' }), 401, 'bad_signature'],
  ['no signature', () => ({ sign: '' }), 401, 'bad_signature'],
  ['half a signature', () => ({ sign: signEvent(unixSeconds(), body.type, raw).slice(0, 32) }), 401, 'bad_signature'],
  ['a signature that is no hex', () => ({ sign: 'z'.repeat(64) }), 401, 'bad_signature'],
  ['a signature of another body', () => ({ sign: signEvent(unixSeconds(), body.type, '{}') }), 401, 'bad_signature'],
  [
    'a signature of another event',
    () => ({ sign: signEvent(unixSeconds(), 'requests.cancel', raw) }),
    401,
    'bad_signature',
  ],
  ['a time in milliseconds', () => ({ ts: String(Date.now()) }), 401, 'bad_signature'],
  ['no time', () => ({ ts: '' }), 401, 'bad_signature'],
  ['a time with a sign', () => ({ ts: `+${unixSeconds().slice(1)}` }), 401, 'bad_signature'],
  ['a time long past', () => off(-310), 401, 'stale'],
  ['a time to come', () => off(310), 401, 'stale'],
  [
    'an unknown event',
    () => ({ event: 'requests.refund', raw: JSON.stringify({ ...body, type: 'requests.refund' }) }),
    400,
    'unknown_type',
  ],
  [
    'an event named like a method',
    () => ({ event: 'toString', raw: JSON.stringify({ ...body, type: 'toString' }) }),
    400,
    'unknown_type',
  ],
  ['a type other than the event', () => ({ event: 'requests.cancel' }), 400, 'mismatch'],
  ['no JSON', () => ({ raw: 'requests.accept' }), 400, 'invalid'],
  ['bytes that are no UTF-8', () => ({ raw: Uint8Array.from([0x7b, 0xff, 0x7d]) }), 400, 'invalid'],
  ['no data', () => ({ raw: '{"type":"requests.accept"}' }), 400, 'invalid'],
  ['an id with a space', () => ({ raw: JSON.stringify(paymentEvent('accept', 'PR 1')) }), 400, 'invalid'],
  [
    'a body beyond the limit',
    () => ({ raw: JSON.stringify(paymentEvent('accept', 'PR_bad', { note: 'x'.repeat(3_000) })) }),
    413,
    'too_large',
  ],
];

test.serial('[P04] any other request is refused with its reason, counted and never queued', async (t) => {
  await env.settle();
  const before = await stored();
  for (const [what, how, status, outcome] of CASES) {
    const was = await counted(outcome);
    const { status: is, error } = await sendEvent(at.apiUrl, body, how());
    t.is(is, status, what);
    t.is(await counted(outcome), was + 1, what);
    t.notRegex(error.message, /PR_bad|TR_bad|demo_secret/, what);
  }
  await fc.assert(
    fc.asyncProperty(fc.string(), fc.uint8Array({ maxLength: 200 }), async (sign, bytes) => {
      const header = encodeURIComponent(sign);
      const { status } = await sendEvent(at.apiUrl, body, { raw: bytes, sign: header, event: header });
      return status === 401;
    }),
    { numRuns: 50 },
  );
  await env.settle();
  t.deepEqual(await stored(), before);
  t.is((await sendEvent(at.apiUrl, body, off(-290))).status, 202, 'within the window');
});

test.serial('[P01] the example in docs/payments.md works as written', async (t) => {
  const example = /```sh\n(export PAYMENTS_WEBHOOK_SECRET[\s\S]*?)```/.exec(
    readFileSync(new URL('../../docs/payments.md', import.meta.url), 'utf8'),
  )![1]!;
  const run = promisify(execFile);
  const has = (tool: string) =>
    run(tool, ['--version']).then(
      () => true,
      () => false,
    );
  if (!(await has('curl')) || !(await has('python3'))) {
    t.log('curl or python3 is not on this machine: left out');
    t.pass();
    return;
  }
  const { stdout } = await run('bash', ['-c', example], {
    env: { PATH: process.env.PATH, API: at.apiUrl, PAYMENTS_WEBHOOK_SECRET: SECRET },
  });
  t.deepEqual(JSON.parse(stdout), { data: { received: true, duplicate: false } });
  await env.settle();
  const [request] = await env.db.query("select state, transfer_id from payment_requests where request_id = 'PR_ID'");
  t.deepEqual(request, { state: 'accepted', transfer_id: 'TR_ID' });
});

test.serial('[P02] an event without an id is identified by its content', async (t) => {
  const request = createId('PR');
  t.false((await sendEvent(at.apiUrl, paymentEvent('create', request))).data.duplicate);
  t.true((await sendEvent(at.apiUrl, paymentEvent('create', request))).data.duplicate, 'sent again with another time');
  t.false((await sendEvent(at.apiUrl, paymentEvent('create', request, { note: 'other' }))).data.duplicate);
});
