/**
 * Payment events on their way into PAYMENTS: what arrives while one group is being looked up and appended is the next group.
 * One look-up and one append (one fsync, in the durable profile) for all of a group; a lone event goes alone and at once.
 */
import type { NatsConnection } from 'nats';
import { timeoutsOf } from '../../../nats/jetstream-manager.ts';
import { subject } from '../../../nats/topology.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Database } from '../../../shared/db/database.ts';
import { encodePayments, type ReceivedPayment } from '../../../shared/pipeline/payments.ts';
import { isTransient } from '../../../shared/transient.ts';

interface Waiting {
  payment: ReceivedPayment;
  resolve(duplicate: boolean): void;
  reject(error: unknown): void;
}
const GROUP = 256;
const LATELY = 10_000;

export class PaymentPublisher {
  readonly #nc: NatsConnection;
  readonly #db: Database;
  #waiting: Waiting[] = [];
  #working = false;
  /** Events that are on their way or were lately, by key: Postgres hears of them a moment after the sender does. */
  readonly #lately = new Map<string, Promise<boolean>>();

  constructor(nc: NatsConnection, db: Database) {
    this.#nc = nc;
    this.#db = db;
  }

  /**
   * Resolves once the event is durable; true when it was known, or came twice within a short time.
   * @throws {ApiError} `unavailable`
   */
  async add(payment: ReceivedPayment): Promise<boolean> {
    const same = payment.replay ? undefined : this.#lately.get(payment.key);
    if (same) {
      await same;
      return true;
    }
    const done = new Promise<boolean>((resolve, reject) => this.#waiting.push({ payment, resolve, reject }));
    if (!payment.replay) {
      this.#lately.set(payment.key, done);
      done.catch(() => this.#lately.delete(payment.key));
      if (this.#lately.size > LATELY) this.#lately.delete(this.#lately.keys().next().value!);
    }
    void this.#work();
    return await done;
  }

  async #work(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    while (this.#waiting.length) {
      const group = this.#waiting.splice(0, GROUP);
      try {
        const known = await this.#known(group);
        const fresh = group.filter(({ payment }) => payment.replay || !known.has(payment.key));
        if (fresh.length) await this.#append(fresh.map(({ payment }) => payment));
        for (const { payment, resolve } of group) resolve(!payment.replay && known.has(payment.key));
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
    }
    this.#working = false;
  }

  /** Without Postgres everything goes into the stream: the worker drops what it knows. */
  async #known(group: Waiting[]): Promise<Set<string>> {
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
      throw new ApiError('unavailable', 'the event could not be stored; send it again', { retry_after_ms: 5_000 });
  }
}
