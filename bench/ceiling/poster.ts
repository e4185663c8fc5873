/** The ceiling of W7, a process of its own: signed POSTs to the same receivers and nothing else. `poster.ts <port> <seconds>` */
import { Agent, request } from 'undici';
import { uuid7 } from '../../shared/ids.ts';
import { newEndpointSecret, WebhookSigner } from '../../shared/webhooks/secrets.ts';

const [port, seconds] = process.argv.slice(2).map(Number) as [number, number];
const ENDPOINTS = 100;
const LANES = 256;
const dispatcher = new Agent();
const signer = new WebhookSigner(newEndpointSecret().secret);
const end = performance.now() + seconds * 1_000;
let done = 0;

async function lane(n: number): Promise<void> {
  while (performance.now() < end) {
    const at = new Date();
    const data = {
      message_id: uuid7(),
      conversation_id: uuid7(),
      seq: done,
      sender_id: uuid7(),
      sent_at: at.toISOString(),
    };
    const body = JSON.stringify({ type: 'chat.message.created', timestamp: at.toISOString(), data });
    const unix = Math.floor(at.getTime() / 1_000);
    const headers = {
      'content-type': 'application/json',
      'webhook-id': data.message_id,
      'webhook-timestamp': String(unix),
      'webhook-signature': signer.sign(data.message_id, unix, body),
    };
    const url = `http://127.0.1.${(n % ENDPOINTS) + 1}:${port}/ok`;
    const reply = await request(url, { method: 'POST', dispatcher, headers, body });
    await reply.body.dump();
    done++;
  }
}
const begun = performance.now();
await Promise.all(Array.from({ length: LANES }, (_, n) => lane(n)));
process.send!({ per_sec: Math.round(done / ((performance.now() - begun) / 1_000)) });
process.disconnect();
await dispatcher.close();
