/**
 * Claims due deliveries, posts them and has the results recorded. Only attempts under way are in memory: pauses between
 * attempts are times in Postgres.
 */
import { sleep } from '../../shared/async/sleep.ts';
import type { Context } from '../../shared/service.ts';
import type { AttemptResult } from './attempt-results.ts';
import { type ClaimedDelivery, claimDue, releaseClaims } from './claims.ts';
import { ConcurrencyLimits } from './concurrency.ts';
import type { EndpointCache, SigningAddress } from './endpoint-cache.ts';
import { POSTER_CLOSED, type Poster } from './poster.ts';
import { ResultRecorder } from './result-recorder.ts';

const POLL_MS = 200;
/** A claim ends this long after the latest end of its attempt. */
const CLAIM_MARGIN_MS = 5_000;
/** Time that `close` leaves to attempts under way. */
const GRACE_MS = 2_000;
const USER_AGENT = 'Sealwire-Webhooks/1';

export class Dispatcher {
  readonly #context: Context;
  readonly #endpoints: EndpointCache;
  readonly #poster: Poster;
  readonly #now: () => number;
  readonly #limits: ConcurrencyLimits;
  readonly #recorder: ResultRecorder;
  readonly #attempts = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  readonly #loop: Promise<void>;
  #wake: () => void = () => {};
  #isWoken = false;
  #problem: string | undefined;

  constructor(context: Context, endpoints: EndpointCache, poster: Poster, now: () => number) {
    this.#context = context;
    this.#endpoints = endpoints;
    this.#poster = poster;
    this.#now = now;
    this.#limits = new ConcurrencyLimits(context.config);
    this.#recorder = new ResultRecorder({
      context,
      onRecorded: (result) => this.#attemptEnded(result),
      onBatch: () => this.wake(),
    });
    this.#loop = this.#run();
  }

  /** Why deliveries cannot be claimed at present; undefined when they can. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Looks for due deliveries at once instead of at the next poll. */
  wake(): void {
    this.#isWoken = true;
    this.#wake();
  }

  /** Leaves attempts under way a moment to end, and records them. Those that are cut off are due again at once. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#recorder.beginClose();
    this.wake();
    await this.#loop;
    const ended = Promise.all(this.#attempts);
    await Promise.race([ended, sleep(GRACE_MS)]);
    await this.#poster.close();
    await ended;
    await this.#recorder.close();
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      this.#isWoken = false;
      let begun = 0;
      try {
        begun = await this.#beginDue();
        this.#problem = undefined;
      } catch (error) {
        if (!this.#problem) this.#context.log.warn({ unit: 'webhook', err: error }, 'deliveries cannot be claimed');
        this.#problem = 'deliveries cannot be claimed';
      }
      if (begun === 0) await this.#waitForWork();
    }
  }

  /** Claims due deliveries and begins an attempt of each. @returns how many */
  async #beginDue(): Promise<number> {
    const { config, db } = this.#context;
    const slots = this.#limits.freeSlots();
    if (slots.total === 0) return 0;
    const now = this.#now();
    const claimed = await claimDue(db, slots, now, now + config.WEBHOOK_TIMEOUT_SEC * 1_000 + CLAIM_MARGIN_MS);
    if (this.#closing.signal.aborted) {
      await releaseClaims(db.query, claimed);
      return 0;
    }
    try {
      await this.#endpoints.load(claimed);
    } catch (error) {
      // Otherwise they would be due only when the claim ends.
      await releaseClaims(db.query, claimed).catch(() => {});
      throw error;
    }
    for (const delivery of claimed) {
      this.#limits.attemptBegan(delivery.endpoint_id);
      const attempt = this.#attempt(delivery).finally(() => this.#attempts.delete(attempt));
      this.#attempts.add(attempt);
    }
    return claimed.length;
  }

  /** Resolves after a poll interval, or when `wake` is called, or was called since the last look. */
  #waitForWork(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isWoken) return resolve();
      const timer = setTimeout(resolve, POLL_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #attempt(claimed: ClaimedDelivery): Promise<void> {
    const { endpoint_id, event_id, body } = claimed;
    const at = this.#now();
    const begunAt = performance.now();
    const address = this.#endpoints.get(endpoint_id);
    const outcome =
      address && 'url' in address
        ? await this.#poster.post(address.url, headersOf(address, event_id, body, at), body, at)
        : { delivered: false, error: address ? 'secret_unreadable' : 'endpoint_gone' };
    if (this.#closing.signal.aborted && outcome.error === POSTER_CLOSED) {
      // When this fails too, the delivery is due when its claim ends.
      return await releaseClaims(this.#context.db.query, [claimed]).catch(() => {});
    }
    await this.#recorder.record({ claimed, outcome, at, duration_ms: performance.now() - begunAt });
  }

  #attemptEnded({ claimed, outcome, duration_ms }: AttemptResult): void {
    const { log, metrics } = this.#context;
    this.#limits.attemptEnded(claimed.endpoint_id, outcome.delivered, duration_ms);
    const label = outcome.delivered ? 'delivered' : 'failed';
    metrics.webhookAttempts.inc({ outcome: label, reason: outcome.error ?? 'none' });
    metrics.webhookSeconds.observe({ outcome: label }, duration_ms / 1_000);
    log.info({
      unit: 'webhook',
      endpoint_id: claimed.endpoint_id,
      event_id: claimed.event_id,
      type: claimed.type,
      attempt: claimed.attempts + 1,
      outcome: label,
      status: outcome.status,
      reason: outcome.error,
      ms: Math.round(duration_ms),
    });
  }
}

/** Headers of a request, signed with the secret of the endpoint, and with its old one until that expires. */
function headersOf(
  { headers, signer, old }: SigningAddress,
  id: string,
  body: string,
  at: number,
): Record<string, string> {
  const seconds = Math.floor(at / 1_000);
  const signers = [signer, ...(old && old.until > at ? [old.signer] : [])];
  return {
    ...headers,
    'content-type': 'application/json',
    'user-agent': USER_AGENT,
    'webhook-id': id,
    'webhook-timestamp': String(seconds),
    'webhook-signature': signers.map((each) => each.sign(id, seconds, body)).join(' '),
  };
}
