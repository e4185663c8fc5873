/** Manages a person's devices and the sealed backup of their keys. Every function here throws SealwireError. */
import type { MyDevice, PatchDeviceBody } from '../shared/contract/http/devices.ts';
import { fetchAll } from './pagination.ts';
import type { Session } from './session.ts';

/** Lists the devices of this person. */
export const listDevices = (session: Session): Promise<MyDevice[]> => fetchAll(session, '/v1/devices');

/** Changes the name or other properties of one device. */
export const updateDevice = (session: Session, id: string, change: PatchDeviceBody): Promise<MyDevice> =>
  session.call('PATCH', `/v1/devices/${id}`, change);

/** Deletes a device with its sessions, keys and inbox. Deleting the requesting device logs it out for good. */
export async function deleteDevice(session: Session, id: string): Promise<void> {
  await session.call('DELETE', `/v1/devices/${id}`);
}

/**
 * Stores `data`, which the caller has sealed, as the only backup of this person.
 * @param if_version the version that is replaced, 0 for none; without it any version is replaced
 * @throws SealwireError `conflict` when another device has stored a newer version
 */
export const putBackup = (
  session: Session,
  data: string,
  if_version?: number,
): Promise<{ version: number; updated_at: string }> =>
  session.call('PUT', '/v1/keys/backup', { data, ...(if_version !== undefined && { if_version }) });

/** Fetches the backup. @throws SealwireError `not_found` when there is none */
export const getBackup = (session: Session): Promise<{ data: string; version: number; updated_at: string }> =>
  session.call('GET', '/v1/keys/backup');

/** Deletes the backup. */
export async function deleteBackup(session: Session): Promise<void> {
  await session.call('DELETE', '/v1/keys/backup');
}
