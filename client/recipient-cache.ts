/** Caches who receives a message: direct conversations, the members of conversations, and the devices of people. */
import type { Member, PublicDevice } from '../shared/contract/objects.ts';
import { fetchAll } from './pagination.ts';
import type { Session } from './session.ts';

/** A list of devices is used this long if no event says that it has changed. */
const DEVICES_TTL_MS = 60_000;

export class RecipientCache {
  #session: Session;
  #members = new Map<string, Promise<string[]>>();
  #devices = new Map<string, { fetchedAt: number; list: Promise<PublicDevice[]> }>();
  #directConversations = new Map<string, Promise<string>>();

  constructor(session: Session) {
    this.#session = session;
  }

  /** Returns the id of the direct conversation with a person. The server creates it if there is none. */
  directConversationWith(to: { user_id?: string; number?: string }): Promise<string> {
    return getOrFetch(this.#directConversations, to.user_id ?? to.number ?? '', async () => {
      const { id } = await this.#session.call<{ id: string }>('POST', '/v1/conversations/direct', to);
      return id;
    });
  }

  /** Returns the user ids of all members. */
  membersOf(conversation_id: string): Promise<string[]> {
    return getOrFetch(this.#members, conversation_id, async () => {
      const members = await fetchAll<Member>(this.#session, `/v1/conversations/${conversation_id}/members`);
      return members.map((member) => member.user_id);
    });
  }

  /** @param fresh fetches the list even if it is cached */
  devicesOf(user_id: string, fresh = false): Promise<PublicDevice[]> {
    const cached = this.#devices.get(user_id);
    if (cached && !fresh && Date.now() - cached.fetchedAt < DEVICES_TTL_MS) return cached.list;
    const list = fetchAll<PublicDevice>(this.#session, `/v1/users/${user_id}/devices`);
    list.catch(() => this.#devices.delete(user_id));
    this.#devices.set(user_id, { fetchedAt: Date.now(), list });
    return list;
  }

  /** Drops the members of one conversation; without an id, all members and devices. */
  forgetMembers(conversation_id?: string): void {
    if (conversation_id === undefined) {
      this.#members.clear();
      this.#devices.clear();
    } else this.#members.delete(conversation_id);
  }

  forgetDevices(user_id: string): void {
    this.#devices.delete(user_id);
  }
}

/** Shares one fetch among its callers. A failed fetch is not cached. */
function getOrFetch<T>(cache: Map<string, Promise<T>>, key: string, fetch: () => Promise<T>): Promise<T> {
  const cached = cache.get(key);
  if (cached) return cached;
  const fetched = fetch();
  cache.set(key, fetched);
  fetched.catch(() => cache.delete(key));
  return fetched;
}
