/**
 * The ceiling of webhook-delivery: a process of its own that sends signed POSTs to the same receiver and does nothing else.
 * `signed-posts.ts <port> <seconds>`
 */
import { Agent, request } from 'undici';
import { uuid7 } from '../../shared/ids.ts';
import { newEndpointSecret, WebhookSigner } from '../../shared/webhooks/secrets.ts';

const [port, seconds] = process.argv.slice(2).map(Number) as [number, number];
const ENDPOINTS = 100;
/** Requests at once. */
const CONCURRENCY = 256;
const dispatcher = new Agent();
const signer = new WebhookSigner(newEndpointSecret().secret);
const deadline = performance.now() + seconds * 1_000;
let posted = 0;

async function postUntilEnd(n: number): Promise<void> {
  while (performance.now() < deadline) {
    const at = new Date();
    const data = {
      message_id: uuid7(),
      conversation_id: uuid7(),
      seq: posted,
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
    posted++;
  }
}
const startedAt = performance.now();
await Promise.all(Array.from({ length: CONCURRENCY }, (_, n) => postUntilEnd(n)));
process.send!({ per_sec: Math.round(posted / ((performance.now() - startedAt) / 1_000)) });
process.disconnect();
await dispatcher.close();
