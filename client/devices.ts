/** Managing one's devices and the sealed backup of one's keys. Everything here throws SealwireError. */
import type { MyDevice, PatchDeviceBody } from '../shared/contract/http/devices.ts';
import type { Session } from './session.ts';

export async function listDevices(session: Session): Promise<MyDevice[]> {
  const out: MyDevice[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const query: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const page: { items: MyDevice[]; next_cursor: string | null } = await session.call(
      'GET',
      `/v1/devices?limit=100${query}`,
    );
    out.push(...page.items);
    cursor = page.next_cursor;
  }
  return out;
}

export const updateDevice = (session: Session, id: string, change: PatchDeviceBody): Promise<MyDevice> =>
  session.call('PATCH', `/v1/devices/${id}`, change);

/** With its sessions, keys and queue. Of the device that asks it is logging out for good. */
export async function deleteDevice(session: Session, id: string): Promise<void> {
  await session.call('DELETE', `/v1/devices/${id}`);
}

/** `data` is sealed by the caller. With `if_version`, `conflict` when another device was faster; 0: there is none yet. */
export const putBackup = (
  session: Session,
  data: string,
  if_version?: number,
): Promise<{ version: number; updated_at: string }> =>
  session.call('PUT', '/v1/keys/backup', { data, ...(if_version !== undefined && { if_version }) });

/** @throws SealwireError `not_found` when there is none */
export const getBackup = (session: Session): Promise<{ data: string; version: number; updated_at: string }> =>
  session.call('GET', '/v1/keys/backup');

export async function deleteBackup(session: Session): Promise<void> {
  await session.call('DELETE', '/v1/keys/backup');
}
