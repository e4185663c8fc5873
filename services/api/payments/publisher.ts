/**
 * Publishes payment events to PAYMENTS in groups: the events that arrive while one group is looked up and appended form the
 * next group. A group costs one look-up and one append (one fsync, in the durable profile); a lone event goes at once.
 */
import type { NatsConnection } from 'nats';
import { timeoutsOf } from '../../../nats/jetstream-manager.ts';
import { subject } from '../../../nats/topology.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Database } from '../../../shared/db/database.ts';
import { encodePayments, type ReceivedPayment } from '../../../shared/pipeline/payments.ts';
import { isTransient } from '../../../shared/transient.ts';

interface QueuedPayment {
  payment: ReceivedPayment;
  resolve(isDuplicate: boolean): void;
  reject(error: unknown): void;
}
const GROUP_MAX = 256;
const RECENT_MAX = 10_000;

export class PaymentPublisher {
  readonly #nc: NatsConnection;
  readonly #db: Database;
  #queue: QueuedPayment[] = [];
  #isPublishing = false;
  /** The latest events by key. Postgres knows an event only a moment after its sender was answered. */
  readonly #recent = new Map<string, Promise<boolean>>();

  constructor(nc: NatsConnection, db: Database) {
    this.#nc = nc;
    this.#db = db;
  }

  /**
   * Resolves once the event is durable: true when it was known already, or came twice within a short time.
   * @throws {ApiError} `unavailable`
   */
  async publish(payment: ReceivedPayment): Promise<boolean> {
    const same = payment.replay ? undefined : this.#recent.get(payment.key);
    if (same) {
      await same;
      return true;
    }
    const done = new Promise<boolean>((resolve, reject) => this.#queue.push({ payment, resolve, reject }));
    if (!payment.replay) {
      this.#recent.set(payment.key, done);
      done.catch(() => this.#recent.delete(payment.key));
      if (this.#recent.size > RECENT_MAX) this.#recent.delete(this.#recent.keys().next().value!);
    }
    void this.#publishQueue();
    return await done;
  }

  async #publishQueue(): Promise<void> {
    if (this.#isPublishing) return;
    this.#isPublishing = true;
    while (this.#queue.length) {
      const group = this.#queue.splice(0, GROUP_MAX);
      try {
        const known = await this.#readKnownKeys(group);
        const fresh = group.filter(({ payment }) => payment.replay || !known.has(payment.key));
        if (fresh.length) await this.#append(fresh.map(({ payment }) => payment));
        for (const { payment, resolve } of group) resolve(!payment.replay && known.has(payment.key));
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
    }
    this.#isPublishing = false;
  }

  /** While Postgres is away no key counts as known: the worker drops the duplicates later. */
  async #readKnownKeys(group: QueuedPayment[]): Promise<Set<string>> {
    try {
      const rows = await this.#db.query<{ dedupe_key: string }>(
        'select dedupe_key from payment_events where dedupe_key = any($1)',
        [group.map(({ payment }) => payment.key)],
      );
      return new Set(rows.map(({ dedupe_key }) => dedupe_key));
    } catch (error) {
      if (isTransient(error)) return new Set();
      throw error;
    }
  }

  async #append(payments: ReceivedPayment[]): Promise<void> {
    const stored = await this.#nc.request(subject.payments, encodePayments(payments), {
      timeout: timeoutsOf(this.#nc).requestMs,
    });
    if (stored.json<{ error?: unknown }>().error)
      throw new ApiError('unavailable', 'the event could not be stored: send it again', { retry_after_ms: 5_000 });
  }
}
