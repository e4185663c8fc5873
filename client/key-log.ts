/**
 * A person's key log, checked: every link hashes to the next, and what was seen before is still there. Keep `toJSON()`
 * and go on from it; who compares `head.hash` with that person out of band knows that both were shown the same keys.
 */
import type { KeyLogLink } from '../shared/contract/http/keys.ts';
import type { PublicDevice } from '../shared/contract/objects.ts';
import { SealwireError } from './errors.ts';
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
  /** The devices that there are according to the log. */
  devices: Record<string, Pick<KeyChange, 'identity_key' | 'signing_key' | 'registration_id'>>;
}

const START = '0'.repeat(64);
const ACTIONS = new Set(['added', 'changed', 'removed']);
const broken = (why: string): SealwireError => new SealwireError('key_log_broken', why);

export class KeyLog {
  #data: KeyLogData;

  /** @param from a user id, or what `toJSON()` gave */
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
   * Reads on from where it stands, the link that it stands on included.
   * @returns what is new. @throws SealwireError `key_log_broken`, and nothing is taken over; or what the API refuses with
   */
  async update(session: Session): Promise<KeyChange[]> {
    const { head } = this.#data;
    const links: KeyLogLink[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const from: string = cursor === '' ? `after=${Math.max(0, head.n - 1)}` : `cursor=${encodeURIComponent(cursor)}`;
      const page: { items: KeyLogLink[]; next_cursor: string | null } = await session.call(
        'GET',
        `/v1/users/${this.#data.user_id}/key_log?limit=100&${from}`,
      );
      links.push(...page.items);
      cursor = page.next_cursor;
    }
    return this.extend(links);
  }

  /** As `update`, with links that were got otherwise: from the one that this stands on, or the first. */
  async extend(links: KeyLogLink[]): Promise<KeyChange[]> {
    const next = this.toJSON();
    const [first, ...rest] = links;
    if (next.head.n > 0 && (first?.n !== next.head.n || first.hash !== next.head.hash))
      throw broken(`link ${next.head.n} is not what it was`);
    const changes: KeyChange[] = [];
    for (const { n, entry, hash } of next.head.n > 0 ? rest : links) {
      if (n !== next.head.n + 1) throw broken(`link ${next.head.n + 1} is missing`);
      if ((await sha256(`${next.head.hash}\n${entry}`)) !== hash)
        throw broken(`link ${n} does not follow from the one before`);
      const change = parse(entry);
      if (change.n !== n || change.user_id !== next.user_id) throw broken(`link ${n} belongs elsewhere`);
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

  /** Ids of devices that a list shows otherwise than the log, or that only one of them has. Update the log first. */
  differences(devices: Pick<PublicDevice, 'id' | 'identity_key' | 'signing_key'>[]): string[] {
    const listed = new Map(devices.map((device) => [device.id, device]));
    const ids = new Set([...listed.keys(), ...Object.keys(this.#data.devices)]);
    return [...ids].filter((id) => {
      const [said, logged] = [listed.get(id), this.#data.devices[id]];
      return (
        !said ||
        !logged ||
        (said.identity_key ?? null) !== logged.identity_key ||
        (said.signing_key ?? null) !== logged.signing_key
      );
    });
  }
}

function parse(entry: string): KeyChange {
  let change: KeyChange;
  try {
    change = JSON.parse(entry) as KeyChange;
  } catch {
    throw broken('an entry is not JSON');
  }
  if (!ACTIONS.has(change?.action) || typeof change.device_id !== 'string') throw broken('an entry says nothing known');
  return change;
}

async function sha256(text: string): Promise<string> {
  const hash = await globalThis.crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
