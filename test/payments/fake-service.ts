/** The payments service, as far as it concerns us: it signs what it sends. */
import { createHmac } from 'node:crypto';

export const SECRET = 'demo_secret';

export interface Sent {
  status: number;
  data: { received: true; duplicate: boolean };
  error: { code: string; message: string };
}
export interface Tampering {
  event?: string;
  ts?: string;
  sign?: string;
  secret?: string;
  raw?: string | Uint8Array;
  headers?: Record<string, string>;
}

export const unixSeconds = (): string => String(Math.floor(Date.now() / 1000));
export function signEvent(ts: string, event: string, body: string | Uint8Array, secret = SECRET): string {
  return createHmac('sha256', secret)
    .update(ts + event)
    .update(body)
    .digest('hex');
}

/** Sends an event, signed unless `how` says otherwise. */
export async function sendEvent(
  apiUrl: string,
  body: { type: string } & Record<string, unknown>,
  how: Tampering = {},
): Promise<Sent> {
  const raw = how.raw ?? JSON.stringify(body);
  const event = how.event ?? body.type;
  const ts = how.ts ?? unixSeconds();
  const response = await fetch(`${apiUrl}/payments/webhooks`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-webhook-event': event,
      'x-webhook-ts': ts,
      'x-webhook-sign': how.sign ?? signEvent(ts, event, raw, how.secret),
      ...how.headers,
    },
    body: raw as string,
  });
  return { status: response.status, ...((await response.json()) as Omit<Sent, 'status'>) };
}

export const paymentEvent = (to: string, id: string, more: Record<string, unknown> = {}, event_id?: string) => ({
  type: `requests.${to}`,
  ...(event_id === undefined ? {} : { id: event_id }),
  data: { id, ...more },
});
