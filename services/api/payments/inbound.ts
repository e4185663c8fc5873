/** Receives the events of the payments service: verifies the signature, stores the event in PAYMENTS, then answers 202. */
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
import type { HandlersOf, RawRequest } from '../http/router.ts';
import type { PaymentPublisher } from './publisher.ts';

export interface InboundDeps {
  config: Config;
  publisher: PaymentPublisher;
  metrics: Metrics;
}
/** A label of the metric of received events. */
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

class Refusal extends ApiError {
  readonly outcome: Outcome;

  constructor(outcome: Outcome, code: ApiError['code'], message: string) {
    super(code, message);
    this.outcome = outcome;
  }
}
const badSignature = (message: string): Refusal => new Refusal('bad_signature', 'unauthenticated', message);

interface SignedHeaders {
  ts: string;
  event: string;
  sign: string;
}

/** @throws {ApiError} `unauthenticated` */
function checkHeaders({ ts, sign }: Pick<SignedHeaders, 'ts' | 'sign'>): void {
  if (!/^\d{10}$/.test(ts)) throw badSignature('X-Webhook-Ts must be unix seconds, ten digits');
  if (!/^[0-9a-f]{64}$/i.test(sign))
    throw badSignature('X-Webhook-Sign must be hex(hmac_sha256(secret, ts + event + body))');
}

/** @throws {ApiError} `unauthenticated`, naming the header that is wrong but never the right signature. */
function verifySignature(
  { ts, event, sign }: SignedHeaders,
  body: Uint8Array,
  { secret, windowSec, now }: { secret: string; windowSec: number; now: number },
): void {
  checkHeaders({ ts, sign });
  const expected = createHmac('sha256', secret).update(ts).update(event).update(body).digest();
  if (!timingSafeEqual(expected, Buffer.from(sign, 'hex')))
    throw badSignature('X-Webhook-Sign does not match: sign ts + event + body with PAYMENTS_WEBHOOK_SECRET');
  if (Math.abs(now / 1000 - Number(ts)) > windowSec)
    throw new Refusal(
      'stale',
      'unauthenticated',
      `X-Webhook-Ts differs from the server's clock by more than ${windowSec} seconds: sign again with the current time`,
    );
}

/** Parses a body whose signature was verified. @throws {ApiError} `invalid_request` */
function parseEvent(event: string, bytes: Buffer): { type: PaymentEventType; body: PaymentWebhook } {
  if (!isPaymentEvent(event))
    throw new Refusal('unknown_type', 'invalid_request', 'X-Webhook-Event must be a known type of event');
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw new ApiError('invalid_request', 'the body must be UTF-8');
  }
  const body = checkBody(parseJson(text));
  if (body.type !== event)
    throw new Refusal('mismatch', 'invalid_request', 'body: type must be the same as X-Webhook-Event');
  return { type: event, body };
}

function outcomeOf(error: unknown): Outcome {
  if (error instanceof Refusal) return error.outcome;
  if (isTransient(error)) return 'unavailable';
  if (!(error instanceof ApiError)) return 'failed';
  return error.code === 'too_large' ? 'too_large' : 'invalid';
}

export function inboundRoutes({ config, publisher, metrics }: InboundDeps): HandlersOf<'payments.receive'> {
  const secret = paymentsSecret(config);

  /** @returns true when the event is a duplicate. */
  async function receive(raw: RawRequest): Promise<boolean> {
    if (!secret) throw new ApiError('not_found', 'payments are not connected: set PAYMENTS_WEBHOOK_SECRET');
    const event = raw.header('x-webhook-event');
    const headers = { ts: raw.header('x-webhook-ts'), event, sign: raw.header('x-webhook-sign') };
    // Before the body is read: a client without a plausible signature must not make the server read anything.
    checkHeaders(headers);
    const bytes = await raw.body(config.PAYMENTS_MAX_BODY_BYTES);
    verifySignature(headers, bytes, { secret, windowSec: config.PAYMENTS_WINDOW_SEC, now: Date.now() });
    const { type, body } = parseEvent(event, bytes);
    const key = dedupeKey(type, body.id, bytes);
    const { id: request_id, transfer_id, conversation_id } = body.data;
    return await publisher.publish({ key, type, request_id, transfer_id, conversation_id, received_at: Date.now() });
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
