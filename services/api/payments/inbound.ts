/** The payments service's events: verified, queued into PAYMENTS, and only then acknowledged. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { paymentsSecret } from '../../../shared/auth/derived.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import { parseJson } from '../../../shared/contract/json.ts';
import { isPaymentEvent, type PaymentEventType, PaymentWebhook } from '../../../shared/contract/payments.ts';
import { checker } from '../../../shared/contract/validate.ts';
import type { Metrics } from '../../../shared/metrics.ts';
import { dedupeKey } from '../../../shared/pipeline/payments.ts';
import { isTransient } from '../../../shared/transient.ts';
import type { HandlersOf, Raw } from '../http/router.ts';
import type { PaymentPublisher } from './publisher.ts';

export interface PaymentDeps {
  config: Config;
  queue: PaymentPublisher;
  metrics: Metrics;
}
type Outcome =
  | 'accepted'
  | 'duplicate'
  | 'bad_signature'
  | 'stale'
  | 'unknown_type'
  | 'mismatch'
  | 'invalid'
  | 'too_large'
  | 'unavailable'
  | 'failed';

const checkBody = checker(PaymentWebhook, 'body');
const utf8 = new TextDecoder('utf-8', { fatal: true });

class Refused extends ApiError {
  readonly outcome: Outcome;

  constructor(outcome: Outcome, code: ApiError['code'], message: string) {
    super(code, message);
    this.outcome = outcome;
  }
}
const unsigned = (message: string): Refused => new Refused('bad_signature', 'unauthenticated', message);

/** What needs no body. @throws {ApiError} `unauthenticated` */
function checkHeaders({ ts, sign }: { ts: string; sign: string }): void {
  if (!/^\d{10}$/.test(ts)) throw unsigned('X-Webhook-Ts must be unix seconds, ten digits');
  if (!/^[0-9a-f]{64}$/i.test(sign))
    throw unsigned('X-Webhook-Sign must be hex(hmac_sha256(secret, ts + event + body))');
}

/** @throws {ApiError} `unauthenticated`: which of the three is wrong is told, not what would be right. */
export function verify(
  { ts, event, sign }: { ts: string; event: string; sign: string },
  body: Uint8Array,
  { secret, windowSec, now }: { secret: string; windowSec: number; now: number },
): void {
  checkHeaders({ ts, sign });
  const right = createHmac('sha256', secret).update(ts).update(event).update(body).digest();
  if (!timingSafeEqual(right, Buffer.from(sign, 'hex'))) throw unsigned('X-Webhook-Sign does not fit');
  if (Math.abs(now / 1000 - Number(ts)) > windowSec)
    throw new Refused('stale', 'unauthenticated', `X-Webhook-Ts is more than ${windowSec} seconds off`);
}

/** What a verified body says. @throws {ApiError} `invalid_request` */
function read(event: string, bytes: Buffer): { type: PaymentEventType; body: PaymentWebhook } {
  if (!isPaymentEvent(event)) throw new Refused('unknown_type', 'invalid_request', 'X-Webhook-Event is no known event');
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw new ApiError('invalid_request', 'the body is not UTF-8');
  }
  const body = checkBody(parseJson(text));
  if (body.type !== event)
    throw new Refused('mismatch', 'invalid_request', 'body: type is not that of X-Webhook-Event');
  return { type: event, body };
}

export function paymentsInbound({ config, queue, metrics }: PaymentDeps): HandlersOf<'payments.receive'> {
  const secret = paymentsSecret(config);

  async function receive(raw: Raw): Promise<boolean> {
    if (!secret) throw new ApiError('not_found', 'payments are not connected: PAYMENTS_WEBHOOK_SECRET is not set');
    const event = raw.header('x-webhook-event');
    const signed = { ts: raw.header('x-webhook-ts'), event, sign: raw.header('x-webhook-sign') };
    // Before the body: nothing is read for whoever does not even try to sign.
    checkHeaders(signed);
    const bytes = await raw.body(config.PAYMENTS_MAX_BODY_BYTES);
    verify(signed, bytes, { secret, windowSec: config.PAYMENTS_WINDOW_SEC, now: Date.now() });
    const { type, body } = read(event, bytes);
    const key = dedupeKey(type, body.id, bytes);
    const { id: request_id, transfer_id, conversation_id } = body.data;
    return await queue.add({ key, type, request_id, transfer_id, conversation_id, received_at: Date.now() });
  }

  return {
    async 'payments.receive'({ raw }) {
      try {
        const duplicate = await receive(raw);
        metrics.payments.inc({ outcome: duplicate ? 'duplicate' : 'accepted' });
        return { status: 202, data: { received: true, duplicate } };
      } catch (error) {
        metrics.payments.inc({ outcome: outcomeOf(error) });
        throw error;
      }
    },
  };
}

function outcomeOf(error: unknown): Outcome {
  if (error instanceof Refused) return error.outcome;
  if (isTransient(error)) return 'unavailable';
  if (!(error instanceof ApiError)) return 'failed';
  return error.code === 'too_large' ? 'too_large' : 'invalid';
}
