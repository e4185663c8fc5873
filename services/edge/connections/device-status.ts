/** Loads what decides whether devices may connect, and how far they have got: one statement for many devices. */
import type { Identity } from '../../../shared/auth/tokens.ts';
import type { Database } from '../../../shared/db/database.ts';

export interface DeviceStatus {
  /** Neither user, device nor session was deleted, suspended or revoked. */
  isValid: boolean;
  /** Other devices of the user that are connected, to this edge and to others. */
  others: number;
  cursor: number | null;
  since: Date | null;
}

export async function loadDeviceStatuses(db: Database, identities: Identity[]): Promise<DeviceStatus[]> {
  return await db.query<DeviceStatus>(
    `select d.id is not null and s.id is not null as "isValid", c.cursor, c.updated_at as since,
       (select count(*) from devices o join device_presence p on p.device_id = o.id
          where o.user_id = k.user_id and o.id <> k.device_id and p.edge_id is not null
            and exists (select 1 from edge_leases l where l.edge_id = p.edge_id)) as others
     from unnest($1::uuid[], $2::uuid[], $3::uuid[]) with ordinality as k(user_id, device_id, session_id, n)
     left join devices d on d.id = k.device_id and d.user_id = k.user_id and d.deleted_at is null
       and exists (select 1 from users u where u.id = k.user_id and u.deleted_at is null and u.suspended_at is null)
     left join sessions s on s.id = k.session_id and s.device_id = k.device_id and s.revoked_at is null
     left join device_cursors c on c.device_id = k.device_id
     order by k.n`,
    [
      identities.map(({ user_id }) => user_id),
      identities.map(({ device_id }) => device_id),
      identities.map(({ session_id }) => session_id),
    ],
  );
}
