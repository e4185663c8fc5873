/** Stores prekeys: uploads, claims, and alarms when a device runs low. */
import { ApiError } from '../../../shared/contract/errors.ts';
import {
  type ClaimedDevice,
  DEFAULT_KIND,
  type KeyStock,
  type Prekey,
  type PrekeysBody,
} from '../../../shared/contract/http/keys.ts';
import type { Database, Query } from '../../../shared/db/database.ts';

/** Counts the unclaimed prekeys of a device. */
export async function readKeyStock(query: Query, device_id: string): Promise<KeyStock> {
  const rows = await query<{ role: string; kind: string; count: number; key_id: string }>(
    `select role, kind, count(*)::int as count, min(key_id) as key_id from prekeys
     where device_id = $1 and claimed_at is null group by role, kind`,
    [device_id],
  );
  const stock: KeyStock = { count: 0, kinds: {}, last_resort: {} };
  for (const { role, kind, count, key_id } of rows) {
    if (role === 'signed') stock.signed = key_id;
    else if (role === 'last_resort') stock.last_resort[kind] = key_id;
    else {
      stock.kinds[kind] = count;
      stock.count += count;
    }
  }
  return stock;
}

/** Adds prekeys. @throws {ApiError} `too_large` beyond `max` unclaimed keys; `unauthenticated` when the device is gone */
export function addPrekeys(db: Database, device_id: string, body: PrekeysBody, max: number): Promise<KeyStock> {
  return db.transaction(async ({ query }) => {
    // Uploads of a device take turns, so that the count below is right.
    const [device] = await query('select 1 from devices where id = $1 and deleted_at is null for update', [device_id]);
    if (!device) throw new ApiError('unauthenticated', 'this device is gone; log in again');
    if (body.replace) await query(`delete from prekeys where device_id = $1 and claimed_at is null`, [device_id]);
    if (body.signed) await putSingle(query, device_id, 'signed', body.signed);
    if (body.last_resort) await putSingle(query, device_id, 'last_resort', body.last_resort);
    if (body.one_time?.length) {
      await query(
        `insert into prekeys (device_id, role, kind, key_id, public_key, signature)
         select $1, 'one_time', kind, key_id, public_key, signature
         from unnest($2::text[], $3::text[], $4::text[], $5::text[]) with ordinality as k(kind, key_id, public_key, signature, at)
         order by at on conflict do nothing`,
        [
          device_id,
          body.one_time.map(({ kind }) => kind ?? DEFAULT_KIND),
          body.one_time.map(({ key_id }) => key_id),
          body.one_time.map(({ public_key }) => public_key),
          body.one_time.map(({ signature }) => signature ?? null),
        ],
      );
    }
    const stock = await readKeyStock(query, device_id);
    if (stock.count > max)
      throw new ApiError('too_large', `a device may have at most ${max} unclaimed one-time keys`, {
        details: { limit: max },
      });
    return stock;
  });
}

async function putSingle(query: Query, device_id: string, role: string, key: Prekey): Promise<void> {
  await query(
    `insert into prekeys (device_id, role, kind, key_id, public_key, signature) values ($1, $2, $3, $4, $5, $6)
     on conflict (device_id, role, kind) where role <> 'one_time' do update
       set key_id = excluded.key_id, public_key = excluded.public_key, signature = excluded.signature, created_at = now()`,
    [device_id, role, key.kind ?? DEFAULT_KIND, key.key_id, key.public_key, key.signature ?? null],
  );
}

interface ClaimRow {
  device_id: string;
  identity_key: string;
  signing_key: string | null;
  registration_id: number | null;
  role: 'signed' | 'one_time' | 'last_resort' | null;
  key_id: string;
  public_key: string;
  signature: string | null;
}

/**
 * Takes the oldest one-time key of each device that no other claim has locked, and reads the signed and the last-resort key
 * beside it. One statement, so that no other statement sees a key half taken.
 */
const CLAIM = `with asked as (
    select d.* from devices d where d.user_id = $1 and d.id <> $2 and d.deleted_at is null
      and d.identity_key is not null and ($3::uuid[] is null or d.id = any($3::uuid[]))),
  picked as (
    select k.* from asked d cross join lateral (
      select p.device_id, p.role, p.kind, p.key_id, p.public_key, p.signature from prekeys p
      where p.device_id = d.id and p.role = 'one_time' and p.kind = $4 and p.claimed_at is null
      order by p.n limit 1 for update skip locked) k),
  taken as (
    update prekeys p set claimed_at = now(), public_key = null, signature = null
    from picked k where (p.device_id, p.role, p.kind, p.key_id) = (k.device_id, k.role, k.kind, k.key_id)),
  keys as (
    select device_id, role, key_id, public_key, signature from picked
    union all
    select p.device_id, p.role, p.key_id, p.public_key, p.signature from asked d join prekeys p on p.device_id = d.id
    where p.role = 'signed' or (p.role = 'last_resort' and p.kind = $4 and d.id not in (select device_id from picked)))
  select d.id as device_id, d.identity_key, d.signing_key, d.registration_id,
    k.role, k.key_id, k.public_key, k.signature
  from asked d left join keys k on k.device_id = d.id order by d.id`;

interface PrekeyClaim {
  user_id: string;
  /** The claiming device, whose own keys are left out. */
  by_device: string;
  device_ids: string[] | undefined;
  kind: string;
}

export async function claimPrekeys(
  query: Query,
  { user_id, by_device, device_ids, kind }: PrekeyClaim,
): Promise<ClaimedDevice[]> {
  const rows = await query<ClaimRow>(CLAIM, [user_id, by_device, device_ids ?? null, kind]);
  const devices = new Map<string, ClaimedDevice>();
  for (const row of rows) {
    const { device_id, identity_key, role, key_id, public_key, signature } = row;
    let device = devices.get(device_id);
    if (!device) {
      device = {
        device_id,
        identity_key,
        ...(row.registration_id !== null && { registration_id: row.registration_id }),
        ...(row.signing_key !== null && { signing_key: row.signing_key }),
      };
      devices.set(device_id, device);
    }
    if (role === 'signed') device.signed_prekey = { key_id, public_key, signature: signature ?? '' };
    else if (role !== null)
      device[role === 'one_time' ? 'one_time_prekey' : 'last_resort'] = {
        key_id,
        public_key,
        kind,
        ...(signature !== null && { signature }),
      };
  }
  return [...devices.values()];
}

/**
 * Records an alarm for each of these devices that has few keys of the kind left, unless one was recorded less than `again_sec`
 * ago. A device that never uploaded a key of the kind has no alarm.
 * @returns the devices to notify now, with the number of keys they have left
 */
export function raiseLowPrekeyAlarms(
  query: Query,
  { device_ids, kind, low, again_sec }: { device_ids: string[]; kind: string; low: number; again_sec: number },
): Promise<{ device_id: string; count: number }[]> {
  return query<{ device_id: string; count: number }>(
    `with stock as (
       select device_id, count(*) filter (where claimed_at is null)::int as count from prekeys
       where device_id = any($1::uuid[]) and kind = $2 and role = 'one_time' group by device_id),
     raised as (
       insert into prekey_alarms as a (device_id, kind, told_at) select device_id, $2, now() from stock where count <= $3
       on conflict (device_id, kind) do update set told_at = now()
         where a.told_at <= now() - make_interval(secs => $4) returning device_id)
     select s.device_id, s.count from stock s join raised using (device_id)`,
    [device_ids, kind, low, again_sec],
  );
}

/** Clears the alarms of a device that has enough keys again, so that the next shortage is reported at once. */
export async function clearLowPrekeyAlarms(query: Query, device_id: string, kinds: string[]): Promise<void> {
  await query('delete from prekey_alarms where device_id = $1 and kind = any($2)', [device_id, kinds]);
}
