/** The two people of a payment, and what webhooks are told of it. */
import { jetstreamManager } from '@nats-io/jetstream';
import { readDirectBatch } from '../../nats/log-reader.ts';
import { EVENTS, subject } from '../../nats/topology.ts';
import type { Payment } from '../../shared/contract/payments.ts';
import { uuid7 } from '../../shared/ids.ts';
import { decodeEvents, type Event } from '../../shared/pipeline/events.ts';
import type { Addresses, Env } from '../env/index.ts';
import { registerPerson, TestDevice } from '../env/people.ts';
import { until } from '../env/until.ts';

export const createId = (what: string): string => `${what}_${uuid7()}`;

export class PaymentDevice extends TestDevice {
  readonly payments: Payment[] = [];
  static async open(at: Addresses, session: Awaited<ReturnType<typeof registerPerson>>): Promise<PaymentDevice> {
    const one = new PaymentDevice(session, at.edgeUrl);
    one.device.on('payment', ({ payment }) => void one.payments.push(payment));
    await one.connect();
    return one;
  }
  /** Each once: after a fault fanout may have written one entry of the log twice, and both say the same. */
  paymentsOf(request: string): Payment[] {
    const all = this.payments.filter(({ request_id }) => request_id === request);
    return [...new Map(all.map((payment) => [JSON.stringify(payment), payment])).values()];
  }
  statesOf(request: string): string[] {
    return this.paymentsOf(request).map(({ state }) => state);
  }
}

/** Two people with a conversation in which one message was said. */
export async function startConversation(at: Addresses) {
  const [anna, ben] = await Promise.all([
    PaymentDevice.open(at, await registerPerson(at)),
    PaymentDevice.open(at, await registerPerson(at)),
  ]);
  const { conversation_id } = await anna.send(ben, 'you owe me lunch');
  return { anna, ben, conversation_id };
}
/** chat.payment.updated of a request, as webhooks get them. */
export async function readPaymentEvents(env: Env, request: string): Promise<Event<'chat.payment.updated'>[]> {
  await until(async () => (await env.db.query('select 1 from event_outbox limit 1')).length === 0);
  const jsm = await jetstreamManager(await env.nats('admin'));
  const found: Event<'chat.payment.updated'>[] = [];
  const query = { seq: 1, next_by_subj: subject.event('chat.payment.updated'), batch: 1_000 };
  for await (const message of readDirectBatch(jsm, EVENTS, query))
    for (const one of decodeEvents(message.data) as typeof found) if (one.data.request_id === request) found.push(one);
  return found;
}
