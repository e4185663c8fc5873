/**
 * Holds requests over the socket until they are answered, and the callers that wait for the socket to open. All requests
 * are idempotent, so they are sent again after a reconnect.
 */
import type { HistoryGet, ReceiptRead } from '../shared/contract/frames/client.ts';
import type { ServerFrame } from '../shared/contract/frames/server.ts';
import { SealwireError } from './errors.ts';

/** A command that has an answer of its own. */
export type RequestCommand = Omit<HistoryGet, 'id'> | Omit<ReceiptRead, 'id'>;

interface PendingRequest {
  frame: string;
  resolve(answer: ServerFrame): void;
  reject(error: SealwireError): void;
}

export class PendingRequests {
  #pending = new Map<string, PendingRequest>();
  #openWaiters: { resolve(): void; reject(error: SealwireError): void }[] = [];
  #transmit: (frame: string) => boolean;

  /** @param transmit sends a frame; false when there is no open socket */
  constructor(transmit: (frame: string) => boolean) {
    this.#transmit = transmit;
  }

  /** Sends a request, again after each reconnect. @returns the server's answer. @throws SealwireError */
  send(id: string, command: RequestCommand): Promise<ServerFrame> {
    return new Promise((resolve, reject) => {
      const frame = JSON.stringify({ ...command, id });
      this.#pending.set(id, { frame, resolve, reject });
      this.#transmit(frame);
    });
  }

  /** Settles the request that the frame answers, if there is one. */
  handleAnswer(frame: ServerFrame & { id?: string }): void {
    const request = frame.id === undefined ? undefined : this.#pending.get(frame.id);
    if (request === undefined) return;
    this.#pending.delete(frame.id!);
    if (frame.type === 'error') request.reject(SealwireError.from(frame));
    else request.resolve(frame);
  }

  waitForOpen(): Promise<void> {
    return new Promise((resolve, reject) => this.#openWaiters.push({ resolve, reject }));
  }

  handleOpen(): void {
    for (const { resolve } of this.#openWaiters.splice(0)) resolve();
    for (const { frame } of this.#pending.values()) this.#transmit(frame);
  }

  rejectAll(error: SealwireError): void {
    for (const { reject } of this.#openWaiters.splice(0)) reject(error);
    const all = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of all) reject(error);
  }
}
