/** Who is in a conversation, and with which devices and keys: asked once, kept for a while. */
import type { Member, PublicDevice } from '../shared/contract/objects.ts';
import type { Session } from './session.ts';

/** How long a list of devices is believed where nothing else says that it changed. */
const DEVICES_MS = 60_000;

interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

export class Keys {
  #session: Session;
  #members = new Map<string, Promise<string[]>>();
  #devices = new Map<string, { at: number; list: Promise<PublicDevice[]> }>();
  #direct = new Map<string, Promise<string>>();

  constructor(session: Session) {
    this.#session = session;
  }

  /** The direct conversation with a person, made if there is none. */
  direct(to: { user_id?: string; number?: string }): Promise<string> {
    return remember(this.#direct, to.user_id ?? to.number ?? '', async () => {
      const { id } = await this.#session.call<{ id: string }>('POST', '/v1/conversations/direct', to);
      return id;
    });
  }

  members(conversation_id: string): Promise<string[]> {
    return remember(this.#members, conversation_id, async () => {
      const members = await this.#all<Member>(`/v1/conversations/${conversation_id}/members`);
      return members.map((member) => member.user_id);
    });
  }

  devices(user_id: string, fresh = false): Promise<PublicDevice[]> {
    const known = this.#devices.get(user_id);
    if (known && !fresh && Date.now() - known.at < DEVICES_MS) return known.list;
    const list = this.#all<PublicDevice>(`/v1/users/${user_id}/devices`);
    list.catch(() => this.#devices.delete(user_id));
    this.#devices.set(user_id, { at: Date.now(), list });
    return list;
  }

  /** Of one conversation's members, or of everything. */
  forget(conversation_id?: string): void {
    if (conversation_id === undefined) {
      this.#members.clear();
      this.#devices.clear();
    } else this.#members.delete(conversation_id);
  }

  forgetDevices(user_id: string): void {
    this.#devices.delete(user_id);
  }

  async #all<T>(path: string): Promise<T[]> {
    const out: T[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const query: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
      const page: Page<T> = await this.#session.call('GET', `${path}?limit=100${query}`);
      out.push(...page.items);
      cursor = page.next_cursor;
    }
    return out;
  }
}

function remember<T>(map: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const known = map.get(key);
  if (known) return known;
  const made = make();
  map.set(key, made);
  made.catch(() => map.delete(key));
  return made;
}
