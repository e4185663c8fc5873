/** Reads where the streams of the inbox shards begin and end, and what they have dropped. */
import type { NatsConnection } from 'nats';
import { jsApi, requestJetStream } from '../../../nats/js-api.ts';
import { inboxStream } from '../../../nats/topology.ts';
import { serializedByKey } from '../../../shared/async/single-flight.ts';

export interface StreamFacts {
  first_seq: number;
  last_seq: number;
  /** When the newest message was stored, ms since 1970; long ago where there never was one. */
  last_at: number;
  /**
   * No item that the stream dropped from its beginning was stored after this time, ms since 1970: it is when the oldest message
   * that is left was stored, or, in an empty stream, the newest that there ever was. Infinity where the broker does not know.
   */
  dropped_until: number;
  max_per_subject: number;
}
const FACTS_MAX_AGE_MS = 5_000;
/** Requests for facts queue behind one whose answer was lost, so its time-out is short. */
const FACTS_TIMEOUT_MS = 2_000;
/** The newest item of an empty stream may have been on its way to a device that left with everything else. */
const IN_TRANSIT_MS = 5_000;

/** The broker says 0001-01-01 for the first item of an empty stream, and still knows when the last one was stored. */
function droppedUntil(state: { messages: number; first_ts: string; last_ts: string }): number {
  if (state.messages > 0) return Date.parse(state.first_ts);
  const last_at = Date.parse(state.last_ts);
  return last_at > 0 ? last_at + IN_TRANSIT_MS : Number.POSITIVE_INFINITY;
}

export class StreamFactsReader {
  readonly #nc: NatsConnection;
  readonly #known = new Map<number, StreamFacts & { at: number }>();
  /** Inboxes that ask at the same time share a request. */
  readonly #request = serializedByKey((shard: number) => this.#load(shard));

  constructor(nc: NatsConnection) {
    this.#nc = nc;
  }

  /** Facts of at most FACTS_MAX_AGE_MS ago; with `fresh`, read after the call. */
  async read(shard: number, { fresh = false } = {}): Promise<StreamFacts> {
    const known = this.#known.get(shard);
    if (known && !fresh && Date.now() - known.at < FACTS_MAX_AGE_MS) return known;
    return await this.#request(shard);
  }

  async #load(shard: number): Promise<StreamFacts> {
    const { config, state } = await requestJetStream<{
      config: { max_msgs_per_subject: number };
      state: { messages: number; first_seq: number; last_seq: number; first_ts: string; last_ts: string };
    }>(this.#nc, jsApi.streamInfo(inboxStream(shard)), '', { timeoutMs: FACTS_TIMEOUT_MS });
    const facts = {
      first_seq: state.first_seq,
      last_seq: state.last_seq,
      last_at: Date.parse(state.last_ts),
      dropped_until: droppedUntil(state),
      max_per_subject: config.max_msgs_per_subject > 0 ? config.max_msgs_per_subject : Number.POSITIVE_INFINITY,
      at: Date.now(),
    };
    this.#known.set(shard, facts);
    return facts;
  }
}
