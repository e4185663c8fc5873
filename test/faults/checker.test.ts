/** The checker reports every way in which a correct journal can be broken. */
import test from 'ava';
import { check, countOutstanding } from '../../bench/faults/checker.ts';
import type { Evidence, HistoryRow } from '../../bench/faults/evidence.ts';
import { type Event, hashOf } from '../../bench/faults/journal.ts';
import { recoveryMs, silenceMs } from '../../bench/faults/measures.ts';

const devices = new Map([
  ['a1', 'a'],
  ['a2', 'a'],
  ['b1', 'b'],
  ['x1', 'x'],
]);
const members = new Map([['ab', ['a', 'b']]]);
const id = (n: number): string => `client-${n}`;
const hash = (n: number): string => hashOf(`payload ${n}`);

const send = (n: number, device = 'a1', conversation = 'ab'): Event => ({
  kind: 'send',
  at: n * 10,
  device,
  conversation,
  client_message_id: id(n),
  hash: hash(n),
});
const queued = (n: number, device = 'a1', seq = n): Event => ({
  kind: 'queued',
  at: n * 10 + 1,
  device,
  conversation: 'ab',
  client_message_id: id(n),
  message_id: `message-${seq}`,
  seq,
});
const got = (n: number, device: string, more: object = {}): Event => ({
  kind: 'got',
  at: n * 10 + 2,
  device,
  message_id: `message-${n}`,
  conversation: 'ab',
  seq: n,
  sender: 'a',
  client_message_id: id(n),
  hash: hash(n),
  resync: false,
  ...more,
});
const row = (n: number): HistoryRow => ({
  message_id: `message-${n}`,
  conversation: 'ab',
  seq: n,
  sender: 'a',
  sender_device: 'a1',
  client_message_id: id(n),
  hash: hash(n),
});
const sound = (): { events: Event[]; history: HistoryRow[] } => ({
  events: [1, 2, 3].flatMap((n) => [send(n), queued(n), got(n, 'a2'), got(n, 'b1')]),
  history: [row(1), row(2), row(3)],
});
const told = ({ events, history }: { events: Event[]; history: HistoryRow[] }): string[] => [
  ...new Set(check({ devices, members, events, history } satisfies Evidence).map(({ invariant }) => invariant)),
];

test('[M01] the checker finds no violation in a correct journal', (t) => {
  const story = sound();
  t.deepEqual(told(story), []);
  t.is(countOutstanding({ devices, members, ...story }), 0);
});

test('[M01] the checker accepts that a delayed send is numbered behind later sends', (t) => {
  const story = sound();
  const delayed: Event = { kind: 'delayed', at: 51, device: 'a1', code: 'unavailable' };
  const other = (n: number) => ({ client_message_id: id(9 - n), hash: hash(9 - n) });
  const others = [4, 5].flatMap((n) => ['a2', 'b1'].map((device) => got(n, device, other(n))));
  story.events.push(send(4), send(5), delayed, queued(4, 'a1', 5), queued(5, 'a1', 4), ...others);
  for (const n of [4, 5]) story.history.push({ ...row(n), ...other(n) });
  t.deepEqual(told(story), []);
});

const spoilt: [title: string, invariant: string, spoil: (story: ReturnType<typeof sound>) => void][] = [
  ['I1 a queued message missing in history', 'I1', (s) => void s.history.pop()],
  [
    'I1 a queued message that is never delivered',
    'I1',
    (s) =>
      void s.events.splice(
        s.events.findIndex((e) => e.kind === 'got'),
        1,
      ),
  ],
  ['I1 another payload in history', 'I1', (s) => void s.history.splice(1, 1, { ...row(2), hash: hash(9) })],
  ['I2 two messages with one client id', 'I2', (s) => void s.events.push(send(2), queued(2, 'a1', 4))],
  ['I2 a message handed over twice', 'I2', (s) => void s.events.push(got(3, 'b1'))],
  [
    'I2 a client id twice in history',
    'I2',
    (s) => void s.history.push({ ...row(4), client_message_id: id(3), hash: hash(3) }),
  ],
  [
    'I2 a cursor that goes back',
    'I2',
    (s) => void s.events.push({ kind: 'disorder', at: 99, device: 'b1', cursor: 4, after: 7 }),
  ],
  ['I3 a gap in seq', 'I3', (s) => void s.history.splice(2, 1, { ...row(3), seq: 4 })],
  [
    'I3 a message numbered before an earlier acknowledged one',
    'I3',
    (s) => void s.events.push(send(4), queued(4, 'a1', 2)),
  ],
  [
    'I3 messages of one device in reversed order',
    'I3',
    (s) => void s.events.push(send(4), send(5), queued(4, 'a1', 5), queued(5, 'a1', 4)),
  ],
  [
    'I4 a message in history that is never delivered or announced',
    'I4',
    (s) => {
      s.events.push(send(4));
      s.history.push(row(4));
    },
  ],
  ['I4 a delivery out of order', 'I4', (s) => void s.events.push(...s.events.splice(3, 1))],
  [
    'I4 a resync that was not announced',
    'I4',
    (s) => {
      s.events.push(send(4), got(4, 'b1', { resync: true }), got(4, 'a2'));
      s.history.push(row(4));
    },
  ],
  ['I5 a message that nobody sent', 'I5', (s) => void s.events.push(got(4, 'b1'))],
  ['I5 a payload changed on its way', 'I5', (s) => void s.events.splice(3, 1, got(1, 'b1', { hash: hash(9) }))],
  [
    'I5 a refused message that is delivered',
    'I5',
    (s) => {
      const ack = s.events.findIndex((e) => e.kind === 'queued' && e.seq === 3);
      s.events[ack] = { kind: 'refused', at: 31, device: 'a1', client_message_id: id(3), code: 'queue_full' };
    },
  ],
  ['I6 a message delivered to a stranger', 'I6', (s) => void s.events.push(got(3, 'x1'))],
];
for (const [title, invariant, spoil] of spoilt) {
  test(`[M01] [M03] the checker reports a broken journal: ${title}`, (t) => {
    const story = sound();
    spoil(story);
    t.true(told(story).includes(invariant), told(story).join(' '));
  });
}

test('[M01] the checker accepts a resync after an announced gap, and reordering of messages in flight during a fault', (t) => {
  const story = sound();
  story.events.push(
    send(4),
    { kind: 'gap', at: 45, device: 'b1', from: 1, to: 2, reason: 'reset' },
    got(4, 'b1', { resync: true }),
    got(4, 'a2'),
    send(5),
    send(6),
    { kind: 'mark', at: 66, what: 'fault', detail: '' },
    queued(6, 'a1', 5),
    queued(5, 'a1', 6),
  );
  story.history.push(row(4), { ...row(5), client_message_id: id(6), hash: hash(6) });
  story.history.push({ ...row(6), client_message_id: id(5), hash: hash(5) });
  for (const [seq, n] of [
    [5, 6],
    [6, 5],
  ] as const)
    for (const device of ['a2', 'b1']) story.events.push(got(seq, device, { client_message_id: id(n), hash: hash(n) }));
  t.deepEqual(told(story), []);
});

test('[M01] recovery is the time to the first new message, and silence the longest pause', (t) => {
  const events: Event[] = [
    { kind: 'mark', at: 0, what: 'load', detail: '' },
    send(1),
    got(1, 'b1'),
    send(2),
    { kind: 'mark', at: 25, what: 'healed', detail: '' },
    { ...got(2, 'b1'), at: 300 },
    { ...send(3), at: 310 },
    { ...got(3, 'b1'), at: 325 },
    { kind: 'mark', at: 400, what: 'end', detail: '' },
  ];
  t.is(recoveryMs(events), 300);
  t.is(silenceMs(events), 288);
});
