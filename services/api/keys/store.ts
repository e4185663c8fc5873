/** Stores the published keys of a device, and reads the log of all changes of keys. */
import { LockMode } from '@mikro-orm/core';
import type { KeyLogLink, Keys } from '../../../shared/contract/http/keys.ts';
import type { Database, Query } from '../../../shared/db/database.ts';
import { Device } from '../../../shared/db/entities.ts';
import { newRegistrationId } from '../accounts/registration-id.ts';

/** Publishes the keys of a device; another identity key removes its prekeys. @returns false when the device is gone */
export function putKeys(db: Database, device_id: string, keys: Keys): Promise<boolean> {
  return db.transaction(async ({ em, query }) => {
    const where = { id: device_id, deleted_at: null };
    const device = await em.findOne(Device, where, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (!device) return false;
    const isSame = device.identity_key === keys.identity_key;
    // The device cannot decrypt what was encrypted for its old key. A new registration id tells senders that it changed.
    device.registration_id = keys.registration_id ?? ((isSame && device.registration_id) || newRegistrationId());
    device.signing_key = keys.signing_key ?? (isSame ? device.signing_key : null);
    device.identity_key = keys.identity_key;
    await em.flush();
    if (!isSame) await query('delete from prekeys where device_id = $1', [device_id]);
    return true;
  });
}

/** Reads links of the key log of a person in their order, from behind link `after`. */
export function readKeyLog(query: Query, user_id: string, after: number, limit: number): Promise<KeyLogLink[]> {
  return query<KeyLogLink>('select n, entry, hash from key_log where user_id = $1 and n > $2 order by n limit $3', [
    user_id,
    after,
    limit,
  ]);
}
