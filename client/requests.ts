/** Commands with an answer of their own, and those who wait for the socket to open. All are idempotent: asked again after a reconnect. */
import type { HistoryGet, ReceiptRead } from '../shared/contract/frames/client.ts';
import type { ServerFrame } from '../shared/contract/frames/server.ts';
import { SealwireError } from './errors.ts';

export type Asked = Omit<HistoryGet, 'id'> | Omit<ReceiptRead, 'id'>;

interface Waiting {
  frame: string;
  resolve(answer: ServerFrame): void;
  reject(error: SealwireError): void;
}

export class Requests {
  #waiting = new Map<string, Waiting>();
  #openings: { resolve(): void; reject(error: SealwireError): void }[] = [];
  #transmit: (frame: string) => boolean;

  constructor(transmit: (frame: string) => boolean) {
    this.#transmit = transmit;
  }

  ask(id: string, command: Asked): Promise<ServerFrame> {
    return new Promise((resolve, reject) => {
      const frame = JSON.stringify({ ...command, id });
      this.#waiting.set(id, { frame, resolve, reject });
      this.#transmit(frame);
    });
  }

  answer(frame: ServerFrame & { id?: string }): void {
    const waiting = frame.id === undefined ? undefined : this.#waiting.get(frame.id);
    if (waiting === undefined) return;
    this.#waiting.delete(frame.id!);
    if (frame.type === 'error') waiting.reject(SealwireError.from(frame));
    else waiting.resolve(frame);
  }

  untilOpen(): Promise<void> {
    return new Promise((resolve, reject) => this.#openings.push({ resolve, reject }));
  }

  opened(): void {
    for (const { resolve } of this.#openings.splice(0)) resolve();
    for (const { frame } of this.#waiting.values()) this.#transmit(frame);
  }

  fail(error: SealwireError): void {
    for (const { reject } of this.#openings.splice(0)) reject(error);
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of all) reject(error);
  }
}
