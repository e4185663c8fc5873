/** Caches how to address and sign for each endpoint, and matches events to the endpoints that want them. */
import type { Logger } from 'pino';
import type { Encryption } from '../../shared/auth/encryption.ts';
import type { Database, Query } from '../../shared/db/database.ts';
import type { Event } from '../../shared/pipeline/events.ts';
import type { NewDelivery } from '../../shared/webhooks/deliveries.ts';
import { type EndpointSecret, headersContext, secretContext, WebhookSigner } from '../../shared/webhooks/secrets.ts';

interface Subscription {
  id: string;
  /** Null: all types. */
  event_types: string[] | null;
  /** Null: all conversations. */
  conversation_id: string | null;
  ordered: boolean;
}
const wantsEvent = (subscription: Subscription, { type, conversation_id }: Event): boolean =>
  (!subscription.event_types || subscription.event_types.includes(type)) &&
  (!subscription.conversation_id || subscription.conversation_id === conversation_id);

/**
 * Returns the deliveries of these events, in their order, by the endpoints that are enabled in Postgres at this moment.
 * `onlyId`: only those to this endpoint.
 */
export async function matchEndpoints(query: Query, readEvents: () => Event[], onlyId?: string): Promise<NewDelivery[]> {
  const subscriptions = await query<Subscription>(
    `select id, event_types, conversation_id, ordered from webhook_endpoints
     where enabled and ($1::uuid is null or id = $1) order by id`,
    [onlyId ?? null],
  );
  if (!subscriptions.length) return [];
  return readEvents().flatMap((event) =>
    subscriptions.flatMap((subscription) =>
      wantsEvent(subscription, event) ? [{ event, endpoint_id: subscription.id, ordered: subscription.ordered }] : [],
    ),
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
export interface SigningAddress {
  version: number;
  url: string;
  headers: Record<string, string>;
  signer: WebhookSigner;
  /** The secret before the last rotation; `until` in ms since 1970. */
  old: { signer: WebhookSigner; until: number } | undefined;
}

/** No key of WEBHOOK_SECRETS_KEYS decrypts its secret or headers. */
interface UnreadableEndpoint {
  version: number;
  isUnreadable: true;
}

export class EndpointCache {
  readonly #db: Database;
  readonly #encryption: Encryption;
  readonly #log: Logger;
  readonly #cached = new Map<string, SigningAddress | UnreadableEndpoint>();

  constructor(db: Database, encryption: Encryption, log: Logger) {
    this.#db = db;
    this.#encryption = encryption;
    this.#log = log;
  }

  /** Reads the endpoints that are not cached in the wanted version, in one query. */
  async load(wanted: { endpoint_id: string; version: number }[]): Promise<void> {
    const missing = new Set<string>();
    for (const { endpoint_id, version } of wanted)
      if (this.#cached.get(endpoint_id)?.version !== version) missing.add(endpoint_id);
    if (!missing.size) return;
    const rows = await this.#db.query<Row>(
      `select id, version, url, headers_sealed, secret_sealed, old_secret_sealed, old_secret_until
       from webhook_endpoints where id = any($1)`,
      [[...missing]],
    );
    for (const row of rows) this.#cached.set(row.id, this.#decrypt(row));
  }

  /** @returns undefined for an endpoint that was deleted. */
  get(endpoint_id: string): SigningAddress | UnreadableEndpoint | undefined {
    return this.#cached.get(endpoint_id);
  }

  /** An endpoint that cannot be decrypted fails alone: the deliveries to all others go on. */
  #decrypt(row: Row): SigningAddress | UnreadableEndpoint {
    const { id, version, url } = row;
    const signerOf = (encrypted: Buffer): WebhookSigner =>
      new WebhookSigner(JSON.parse(this.#encryption.decrypt(encrypted, secretContext(id))) as EndpointSecret);
    try {
      return {
        version,
        url,
        headers: row.headers_sealed ? JSON.parse(this.#encryption.decrypt(row.headers_sealed, headersContext(id))) : {},
        signer: signerOf(row.secret_sealed),
        old: this.#decryptOld(row, signerOf),
      };
    } catch (error) {
      this.#log.error(
        { unit: 'webhook', endpoint_id: id, reason: String(error) },
        'the secret or the headers of the endpoint cannot be decrypted',
      );
      return { version, isUnreadable: true };
    }
  }

  /** The key of an old secret may have been removed; then only the present secret signs. */
  #decryptOld(
    { old_secret_sealed, old_secret_until }: Row,
    signerOf: (encrypted: Buffer) => WebhookSigner,
  ): SigningAddress['old'] {
    if (!old_secret_sealed) return undefined;
    try {
      return { signer: signerOf(old_secret_sealed), until: old_secret_until!.getTime() };
    } catch {
      return undefined;
    }
  }
}
