/**
 * Claims what is due, posts it, records what became of it. Nothing waits in memory but attempts under way: pauses are
 * times in Postgres. Results that could not be written yet keep their lanes, so memory is bounded when Postgres is away.
 */
import type { Context } from '../../shared/service.ts';
import { type Result, record } from './attempt-results.ts';
import { type Claimed, claim, release } from './claims.ts';
import { ConcurrencyLimits } from './concurrency.ts';
import type { Address, EndpointCache } from './endpoint-cache.ts';
import { CUT, type Poster } from './poster.ts';

const POLL_MS = 200;
/** From the end of an attempt's time until what it held is due again. */
const CLAIM_MARGIN_MS = 5_000;
const GRACE_MS = 2_000;
const AGENT = 'Sealwire-Webhooks/1';

export class Dispatcher {
  readonly #context: Context;
  readonly #book: EndpointCache;
  readonly #poster: Poster;
  readonly #now: () => number;
  readonly #lanes: ConcurrencyLimits;
  readonly #attempts = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #loop: Promise<void>;
  readonly #waiting = new Map<Result, () => void>();
  #results: Result[] = [];
  #recording: Promise<void> | undefined;
  #wake: () => void = () => {};
  #woken = false;
  trouble: string | undefined;

  constructor(context: Context, book: EndpointCache, poster: Poster, now: () => number) {
    this.#context = context;
    this.#book = book;
    this.#poster = poster;
    this.#now = now;
    this.#lanes = new ConcurrencyLimits(context.config);
    this.#loop = this.#run();
  }

  /** There may be something due. */
  wake(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Gives attempts under way a moment to end, and writes them down; those that are cut off are due at once. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.wake();
    await this.#loop;
    const ended = Promise.all(this.#attempts);
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, GRACE_MS))]);
    await this.#poster.close();
    await ended;
    await this.#recording;
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#woken = false;
      let claimed: Claimed[] = [];
      try {
        claimed = await this.#claim();
        this.trouble = undefined;
      } catch (error) {
        if (!this.trouble) this.#context.log.warn({ unit: 'webhook', err: error }, 'nothing can be claimed just now');
        this.trouble = 'deliveries can not be claimed';
      }
      if (claimed.length === 0) await this.#idle();
    }
  }

  async #claim(): Promise<Claimed[]> {
    const { config, db } = this.#context;
    const room = this.#lanes.room();
    if (room.total === 0) return [];
    const now = this.#now();
    const claimed = await claim(db, room, now, now + config.WEBHOOK_TIMEOUT_SEC * 1_000 + CLAIM_MARGIN_MS);
    if (this.#stop.signal.aborted) {
      await release(db.query, claimed);
      return [];
    }
    try {
      await this.#book.load(claimed);
    } catch (error) {
      // Else they would be due only when the claim ends.
      await release(db.query, claimed).catch(() => {});
      throw error;
    }
    for (const one of claimed) {
      this.#lanes.begin(one.endpoint_id);
      const attempt = this.#attempt(one).finally(() => this.#attempts.delete(attempt));
      this.#attempts.add(attempt);
    }
    return claimed;
  }

  #idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#woken) return resolve();
      const timer = setTimeout(resolve, POLL_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #attempt(claimed: Claimed): Promise<void> {
    const { endpoint_id, event_id, body } = claimed;
    const at = this.#now();
    const begun = performance.now();
    const address = this.#book.get(endpoint_id);
    const outcome =
      address && 'url' in address
        ? await this.#poster.post(address.url, headersOf(address, event_id, body, at), body, at)
        : { delivered: false, error: address ? 'secret_unreadable' : 'endpoint_gone' };
    if (this.#stop.signal.aborted && outcome.error === CUT) {
      // Else it is due when the claim ends.
      return await release(this.#context.db.query, [claimed]).catch(() => {});
    }
    await new Promise<void>((resolve) => {
      this.#add({ claimed, outcome, at, duration_ms: performance.now() - begun }, resolve);
    });
  }

  #add(result: Result, written: () => void): void {
    this.#results.push(result);
    this.#waiting.set(result, written);
    this.#recording ??= this.#record().finally(() => {
      this.#recording = undefined;
    });
  }

  /** What ended while the last transaction was under way is the next one. */
  async #record(): Promise<void> {
    const { db, config, log, metrics } = this.#context;
    while (this.#results.length) {
      const results = this.#results.splice(0, 500);
      try {
        const { dead, disabled } = await record(db, config, results);
        for (const id of disabled) log.warn({ unit: 'webhook', endpoint_id: id }, 'endpoint disabled');
        for (const { outcome } of dead) metrics.dead.inc({ stage: 'webhook', reason: outcome.error ?? 'failed' });
      } catch (error) {
        this.#results.unshift(...results);
        log.warn({ unit: 'webhook', results: results.length, err: error }, 'results wait to be written');
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        // At the end these count as never made: the same deliveries will be made again.
        if (this.#stop.signal.aborted) return this.#abandon();
        continue;
      }
      for (const result of results) this.#done(result);
      this.wake();
    }
  }

  #done(result: Result): void {
    const { claimed, outcome, duration_ms } = result;
    const { log, metrics } = this.#context;
    this.#lanes.end(claimed.endpoint_id, outcome.delivered, duration_ms);
    const word = outcome.delivered ? 'delivered' : 'failed';
    metrics.webhookAttempts.inc({ outcome: word, reason: outcome.error ?? 'none' });
    metrics.webhookSeconds.observe({ outcome: word }, duration_ms / 1_000);
    log.info({
      unit: 'webhook',
      endpoint_id: claimed.endpoint_id,
      event_id: claimed.event_id,
      type: claimed.type,
      attempt: claimed.attempts + 1,
      outcome: word,
      status: outcome.status,
      reason: outcome.error,
      ms: Math.round(duration_ms),
    });
    this.#waiting.get(result)?.();
    this.#waiting.delete(result);
  }

  #abandon(): void {
    this.#results = [];
    for (const written of this.#waiting.values()) written();
    this.#waiting.clear();
  }
}

/** Signed, by the old secret too as long as it counts. */
function headersOf({ headers, signer, old }: Address, id: string, body: string, at: number): Record<string, string> {
  const seconds = Math.floor(at / 1_000);
  const signers = [signer, ...(old && old.until > at ? [old.signer] : [])];
  return {
    ...headers,
    'content-type': 'application/json',
    'user-agent': AGENT,
    'webhook-id': id,
    'webhook-timestamp': String(seconds),
    'webhook-signature': signers.map((one) => one.sign(id, seconds, body)).join(' '),
  };
}
