/** The storage of a device that outlives its process. Without one, a restarted device relies on the server's cursor alone. */
import type { HandledMessagesData } from './handled-messages.ts';
import type { StoredSend } from './outbox.ts';

export interface InboxData {
  cursor: number;
  epoch: string;
  seen: HandledMessagesData;
}

export interface Store {
  load(): Promise<{ inbox?: InboxData; outbox: StoredSend[] }>;
  /** Called before a message is sent. */
  addSend(send: StoredSend): Promise<void>;
  /** Called after the acknowledgement or the final refusal of a message. */
  dropSend(key: string): Promise<void>;
  /** Called before the cursor is acknowledged to the server. */
  saveInbox(data: InboxData): Promise<void>;
}

/** Keeps everything in memory: a second Device made with the same object continues where the first one ended. */
export class MemoryStore implements Store {
  #outbox = new Map<string, StoredSend>();
  #inbox: InboxData | undefined;

  async load(): Promise<{ inbox?: InboxData; outbox: StoredSend[] }> {
    return { ...(this.#inbox && { inbox: this.#inbox }), outbox: [...this.#outbox.values()] };
  }
  async addSend(send: StoredSend): Promise<void> {
    this.#outbox.set(send.key, { key: send.key, frame: send.frame });
  }
  async dropSend(key: string): Promise<void> {
    this.#outbox.delete(key);
  }
  async saveInbox(data: InboxData): Promise<void> {
    this.#inbox = structuredClone(data);
  }
}
