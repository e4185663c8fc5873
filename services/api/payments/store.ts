/** Stores payments as the API shows them: requests, the conversations of each, and events. */
import type { Payment, PaymentEvent, PaymentEventType, PaymentState } from '../../../shared/contract/payments.ts';
import type { Database, Query } from '../../../shared/db/database.ts';

interface Row {
  conversation_id: string;
  request_id: string;
  state: PaymentState;
  transfer_id: string | null;
  seq: number;
  updated_at: Date;
}
const toPayment = ({ transfer_id, updated_at, ...row }: Row): Payment => ({
  ...row,
  ...(transfer_id === null ? {} : { transfer_id }),
  updated_at: updated_at.toISOString(),
});
const COLUMNS = 'p.conversation_id, p.request_id, p.state, p.transfer_id, p.seq, p.updated_at';

export interface RequestState {
  state: PaymentState;
  transfer_id?: string;
}
/**
 * Whether the conversation $2 may see the transfer of the request $1 that the person $3 attaches to it. Parties of a request
 * are the people of the conversation that it was first attached to while it had no transfer, of those that the payments
 * service names, and of those that a party attaches it to. Any other person may know its id by chance.
 */
const IS_PARTY = `coalesce(
  (select a.party from payment_attachments a where a.request_id = $1 and a.conversation_id = $2),
  case when exists (select 1 from payment_attachments a where a.request_id = $1)
    then exists (select 1 from payment_attachments a join members m using (conversation_id)
      where a.request_id = $1 and a.party and m.user_id = $3 and m.left_seq is null)
    else not exists (select 1 from payment_requests r where r.request_id = $1 and r.transfer_id is not null) end)`;

interface RequestAttachment {
  request_id: string;
  conversation_id: string;
  user_id: string;
}
/** The state of a request as its conversation may see it. */
interface VisibleRequest {
  now: RequestState;
  /** Whether the conversation is a party and sees the transfer. */
  party: boolean;
}

/** Reads a request; it is `pending` when no event of it has arrived. */
export async function readRequest(query: Query, attachment: RequestAttachment): Promise<VisibleRequest> {
  const { request_id, conversation_id, user_id } = attachment;
  const rows = await query<{ state: PaymentState | null; transfer_id: string | null; party: boolean }>(
    `select ${IS_PARTY} as party, r.state, r.transfer_id
     from (select 1) as single left join payment_requests r on r.request_id = $1`,
    [request_id, conversation_id, user_id],
  );
  const { state, transfer_id, party } = rows[0]!;
  const shown = party && transfer_id !== null;
  return { now: state === null ? { state: 'pending' } : { state, ...(shown && { transfer_id }) }, party };
}

/** Attaches a request to a conversation, which the worker tells its changes from now on. @returns its state at that moment */
export function attachRequest(db: Database, attachment: RequestAttachment, party: boolean): Promise<RequestState> {
  const { request_id, conversation_id, user_id } = attachment;
  return db.transaction(async ({ query }) => {
    // The worker takes the same lock.
    await query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [request_id]);
    await query(
      `insert into payment_attachments (request_id, conversation_id, attached_by, party) values ($1, $2, $3, $4)
       on conflict do nothing`,
      [request_id, conversation_id, user_id, party],
    );
    return (await readRequest(query, attachment)).now;
  });
}

export async function readPayment(
  db: Database,
  conversation_id: string,
  request_id: string,
): Promise<Payment | undefined> {
  const [row] = await db.query<Row>(
    `select ${COLUMNS} from conversation_payments p where p.conversation_id = $1 and p.request_id = $2`,
    [conversation_id, request_id],
  );
  return row && toPayment(row);
}

/** Lists payments that were attached while the person was a member. */
export async function listPayments(
  db: Database,
  {
    user_id,
    conversation_id,
    after,
    limit,
  }: { user_id: string; conversation_id: string; after: string; limit: number },
): Promise<Payment[]> {
  const rows = await db.query<Row>(
    `select ${COLUMNS} from conversation_payments p join members m using (conversation_id)
     where p.conversation_id = $1 and m.user_id = $2 and p.request_id > $3
       and p.seq >= m.joined_seq and (m.left_seq is null or p.seq <= m.left_seq)
     order by p.request_id limit $4`,
    [conversation_id, user_id, after, limit],
  );
  return rows.map(toPayment);
}

interface EventRow {
  id: string;
  dedupe_key: string;
  type: PaymentEventType;
  request_id: string;
  transfer_id: string | null;
  state: PaymentState;
  conversation_ids: string[] | null;
  received_at: Date;
  applied_at: Date | null;
}

/** Lists events of payments, the newest first, from behind `before`. */
export async function listPaymentEvents(
  db: Database,
  where: {
    id?: string;
    before?: string | undefined;
    request_id?: string | undefined;
    unapplied?: boolean;
    limit: number;
  },
): Promise<EventRow[]> {
  return await db.query<EventRow>(
    `select e.id, e.dedupe_key, e.type, e.request_id, e.transfer_id, e.state, e.received_at, e.applied_at,
       (select array_agg(a.conversation_id)::text[] from payment_attachments a where a.request_id = e.request_id)
         as conversation_ids
     from payment_events e
     where ($1::uuid is null or e.id = $1) and ($2::uuid is null or e.id < $2)
       and ($3::text is null or e.request_id = $3) and (not $4 or e.applied_at is null)
     order by e.id desc limit $5`,
    [where.id ?? null, where.before ?? null, where.request_id ?? null, where.unapplied ?? false, where.limit],
  );
}

export function toPaymentEvent(row: EventRow): PaymentEvent {
  const { dedupe_key, transfer_id, conversation_ids, received_at, applied_at, ...rest } = row;
  return {
    ...rest,
    event_id: dedupe_key.startsWith('id:') ? dedupe_key.slice(3) : null,
    ...(transfer_id === null ? {} : { transfer_id }),
    conversation_ids: conversation_ids ?? [],
    received_at: received_at.toISOString(),
    applied_at: applied_at?.toISOString() ?? null,
  };
}
