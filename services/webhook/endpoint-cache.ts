/** The endpoints in memory: who wants which events, and how to address and sign for each. */
import type { Logger } from 'pino';
import type { Encryption } from '../../shared/auth/encryption.ts';
import type { Database, Query } from '../../shared/db/database.ts';
import type { Event } from '../../shared/pipeline/events.ts';
import type { Order } from '../../shared/webhooks/deliveries.ts';
import { type EndpointSecret, Signer } from '../../shared/webhooks/secrets.ts';

interface Wish {
  id: string;
  event_types: string[] | null;
  conversation_id: string | null;
  ordered: boolean;
}
const wants = ({ event_types, conversation_id }: Wish, { type, conversation_id: where }: Event): boolean =>
  (!event_types || event_types.includes(type)) && (!conversation_id || conversation_id === where);

/** Deliveries of these events, in their order; by what stands in Postgres now. */
export async function matchEndpoints(query: Query, events: () => Event[], only?: string): Promise<Order[]> {
  const wishes = await query<Wish>(
    `select id, event_types, conversation_id, ordered from webhook_endpoints
     where enabled and ($1::uuid is null or id = $1) order by id`,
    [only ?? null],
  );
  if (!wishes.length) return [];
  return events().flatMap((event) =>
    wishes.flatMap((wish) => (wants(wish, event) ? [{ event, endpoint_id: wish.id, ordered: wish.ordered }] : [])),
  );
}

interface Row {
  id: string;
  version: number;
  url: string;
  headers_sealed: Buffer | null;
  secret_sealed: Buffer;
  old_secret_sealed: Buffer | null;
  old_secret_until: Date | null;
}
export interface Address {
  version: number;
  url: string;
  headers: Record<string, string>;
  signer: Signer;
  old: { signer: Signer; until: number } | undefined;
}

/** No key of WEBHOOK_SECRETS_KEYS opens what is sealed. */
export interface Unreadable {
  version: number;
  unreadable: true;
}

export class EndpointCache {
  readonly #db: Database;
  readonly #sealer: Encryption;
  readonly #log: Logger;
  readonly #known = new Map<string, Address | Unreadable>();

  constructor(db: Database, sealer: Encryption, log: Logger) {
    this.#db = db;
    this.#sealer = sealer;
    this.#log = log;
  }

  /** Reads what is not known in that version. */
  async load(wanted: { endpoint_id: string; version: number }[]): Promise<void> {
    const missing = new Set(
      wanted.filter((one) => this.#known.get(one.endpoint_id)?.version !== one.version).map((one) => one.endpoint_id),
    );
    if (!missing.size) return;
    const rows = await this.#db.query<Row>(
      `select id, version, url, headers_sealed, secret_sealed, old_secret_sealed, old_secret_until
       from webhook_endpoints where id = any($1)`,
      [[...missing]],
    );
    for (const row of rows) this.#known.set(row.id, this.#open(row));
  }

  get(endpoint_id: string): Address | Unreadable | undefined {
    return this.#known.get(endpoint_id);
  }

  /** One that can't be opened is the trouble of that endpoint alone. */
  #open(row: Row): Address | Unreadable {
    const { id, version, url } = row;
    const signer = (sealed: Buffer): Signer =>
      new Signer(JSON.parse(this.#sealer.open(sealed, `${id} secret`)) as EndpointSecret);
    try {
      return {
        version,
        url,
        headers: row.headers_sealed ? JSON.parse(this.#sealer.open(row.headers_sealed, `${id} headers`)) : {},
        signer: signer(row.secret_sealed),
        old: this.#old(row, signer),
      };
    } catch (error) {
      this.#log.error({ unit: 'webhook', endpoint_id: id, reason: String(error) }, 'its secret or headers do not open');
      return { version, unreadable: true };
    }
  }

  /** Its key may be gone once its time is over. */
  #old({ old_secret_sealed, old_secret_until }: Row, signer: (sealed: Buffer) => Signer): Address['old'] {
    if (!old_secret_sealed) return undefined;
    try {
      return { signer: signer(old_secret_sealed), until: old_secret_until!.getTime() };
    } catch {
      return undefined;
    }
  }
}
