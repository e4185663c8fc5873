import { createHmac } from 'node:crypto';
import type { Device } from '../client/index.ts';
import { paymentsSecret } from '../shared/auth/derived.ts';
import type { Config } from '../shared/config/index.ts';
import { aside, check, line } from './terminal.ts';

interface Scene {
  config: Config;
  asks: Device;
  pays: Device;
  conversation_id: string;
  tag: string;
}

/** A payments service, played here, says that a request was accepted. */
export async function tellPayment({ config, asks, pays, conversation_id, tag }: Scene): Promise<void> {
  const { api } = asks.session;
  const request_id = `PR_${tag}`;
  const onRequest = pays.next('payment');
  await asks.session.call('POST', `/v1/conversations/${conversation_id}/payments`, { request_id });
  line(
    `Anna puts the request ${request_id} into the conversation; Ben's laptop shows it ${(await onRequest).payment.state}`,
  );

  const heard = Promise.all([asks.next('payment'), pays.next('payment')]);
  const event = 'requests.accept';
  const body = JSON.stringify({ type: event, data: { id: request_id, transfer_id: `TR_${tag}` } });
  const ts = String(Math.floor(Date.now() / 1_000));
  const sign = createHmac('sha256', paymentsSecret(config)!)
    .update(ts + event + body)
    .digest('hex');
  const headers = { 'x-webhook-event': event, 'x-webhook-ts': ts, 'x-webhook-sign': sign };
  const { status } = await fetch(`${api}/payments/webhooks`, { method: 'POST', headers, body });
  aside(`the payments service: POST /payments/webhooks, signed → ${status}, durable`);
  const states = (await heard).map(({ payment }) => payment.state);
  check(states.join() === 'accepted,accepted', 'both devices show it accepted');
}
