/** Shows a payment request in a conversation, and plays the payments service that accepts it. */
import { createHmac } from 'node:crypto';
import type { Device } from '../client/index.ts';
import { paymentsSecret } from '../shared/auth/derived.ts';
import type { Config } from '../shared/config/index.ts';
import { check, printAside, printLine } from './terminal.ts';

interface PaymentScene {
  config: Config;
  requester: Device;
  payer: Device;
  conversation_id: string;
  /** Makes the ids of this run unique. */
  tag: string;
}

export async function showPayment({ config, requester, payer, conversation_id, tag }: PaymentScene): Promise<void> {
  const { api } = requester.session;
  const request_id = `PR_${tag}`;
  const received = payer.next('payment');
  await requester.session.call('POST', `/v1/conversations/${conversation_id}/payments`, { request_id });
  const { payment } = await received;
  printLine(`Anna adds payment request ${request_id} to the conversation; Ben's laptop shows it as ${payment.state}`);

  const updates = Promise.all([requester.next('payment'), payer.next('payment')]);
  const event = 'requests.accept';
  const body = JSON.stringify({ type: event, data: { id: request_id, transfer_id: `TR_${tag}` } });
  const ts = String(Math.floor(Date.now() / 1_000));
  const sign = createHmac('sha256', paymentsSecret(config)!)
    .update(ts + event + body)
    .digest('hex');
  const headers = { 'x-webhook-event': event, 'x-webhook-ts': ts, 'x-webhook-sign': sign };
  const { status } = await fetch(`${api}/payments/webhooks`, { method: 'POST', headers, body });
  printAside(`the payments service sends a signed POST /payments/webhooks → ${status}: the event is durable`);
  const states = (await updates).map(({ payment }) => payment.state);
  check(states.join() === 'accepted,accepted', 'both devices show the request as accepted');
}
