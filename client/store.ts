/** Where a device keeps what must outlive its process. Without one, a restarted device relies on the server's cursor alone. */
import type { StoredSend } from './outbox.ts';
import type { HandledMessagesData } from './handled-messages.ts';

export interface InboxData {
  cursor: number;
  epoch: string;
  seen: HandledMessagesData;
}

export interface Store {
  load(): Promise<{ inbox?: InboxData; outbox: StoredSend[] }>;
  /** Before a message goes out. */
  addSend(send: StoredSend): Promise<void>;
  /** After its ack or its final refusal. */
  dropSend(key: string): Promise<void>;
  /** Before the cursor is acknowledged to the server. */
  saveInbox(data: InboxData): Promise<void>;
}

/** Keeps everything in this object: a Device made with it goes on where the last one ended. */
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
