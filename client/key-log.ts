/**
 * Follows a person's key log and checks it: every link must hash to the next, and links seen before must still be there.
 * An application saves `toJSON()` and continues from it. Two people who compare `head.hash` out of band know that the
 * server showed both of them the same keys.
 */
import type { KeyLogLink } from '../shared/contract/http/keys.ts';
import type { PublicDevice } from '../shared/contract/objects.ts';
import { SealwireError } from './errors.ts';
import { fetchAll } from './pagination.ts';
import type { Session } from './session.ts';

export interface KeyChange {
  n: number;
  at: string;
  user_id: string;
  action: 'added' | 'changed' | 'removed';
  device_id: string;
  identity_key: string | null;
  signing_key: string | null;
  registration_id: number | null;
}
export interface KeyLogData {
  user_id: string;
  head: { n: number; hash: string };
  /** The devices that exist according to the log, by id. */
  devices: Record<string, Pick<KeyChange, 'identity_key' | 'signing_key' | 'registration_id'>>;
}

/** The hash that the first link is chained to. */
const START = '0'.repeat(64);
const ACTIONS = new Set(['added', 'changed', 'removed']);
const brokenLog = (reason: string): SealwireError => new SealwireError('key_log_broken', reason);

export class KeyLog {
  #data: KeyLogData;

  /** @param from a user id, or the result of an earlier `toJSON()` */
  constructor(from: string | KeyLogData) {
    this.#data =
      typeof from === 'string' ? { user_id: from, head: { n: 0, hash: START }, devices: {} } : structuredClone(from);
  }

  get head(): KeyLogData['head'] {
    return { ...this.#data.head };
  }

  toJSON(): KeyLogData {
    return structuredClone(this.#data);
  }

  /**
   * Fetches the links from the current head on, the head included, and checks them.
   * @returns the new changes
   * @throws SealwireError `key_log_broken`, and the log stays as it was; or the API's refusal
   */
  async update(session: Session): Promise<KeyChange[]> {
    const { head } = this.#data;
    const path = `/v1/users/${this.#data.user_id}/key_log`;
    return this.extend(await fetchAll<KeyLogLink>(session, path, `&after=${Math.max(0, head.n - 1)}`));
  }

  /** Like `update`, with links that the caller has fetched, beginning with the current head or the first link. */
  async extend(links: KeyLogLink[]): Promise<KeyChange[]> {
    const next = this.toJSON();
    const [first, ...later] = links;
    if (next.head.n > 0 && (first?.n !== next.head.n || first.hash !== next.head.hash))
      throw brokenLog(`link ${next.head.n} has changed`);
    const changes: KeyChange[] = [];
    for (const { n, entry, hash } of next.head.n > 0 ? later : links) {
      if (n !== next.head.n + 1) throw brokenLog(`link ${next.head.n + 1} is missing`);
      if ((await sha256(`${next.head.hash}\n${entry}`)) !== hash)
        throw brokenLog(`link ${n} does not follow from the one before`);
      const change = parseEntry(entry);
      if (change.n !== n || change.user_id !== next.user_id)
        throw brokenLog(`link ${n} belongs to another log or position`);
      if (change.action === 'removed') delete next.devices[change.device_id];
      else {
        const { identity_key, signing_key, registration_id } = change;
        next.devices[change.device_id] = { identity_key, signing_key, registration_id };
      }
      next.head = { n, hash };
      changes.push(change);
    }
    this.#data = next;
    return changes;
  }

  /**
   * Returns the ids of devices that differ between a list and the log, or that only one of them has. Update the log first.
   */
  differences(devices: Pick<PublicDevice, 'id' | 'identity_key' | 'signing_key'>[]): string[] {
    const listed = new Map(devices.map((device) => [device.id, device]));
    const ids = new Set([...listed.keys(), ...Object.keys(this.#data.devices)]);
    return [...ids].filter((id) => {
      const [shown, logged] = [listed.get(id), this.#data.devices[id]];
      return (
        !shown ||
        !logged ||
        (shown.identity_key ?? null) !== logged.identity_key ||
        (shown.signing_key ?? null) !== logged.signing_key
      );
    });
  }
}

function parseEntry(entry: string): KeyChange {
  let change: KeyChange;
  try {
    change = JSON.parse(entry) as KeyChange;
  } catch {
    throw brokenLog('an entry is not JSON');
  }
  if (!ACTIONS.has(change?.action) || typeof change.device_id !== 'string')
    throw brokenLog('an entry has an unknown action or no device');
  return change;
}

async function sha256(text: string): Promise<string> {
  const hash = await globalThis.crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
