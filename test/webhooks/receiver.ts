/** An integrator's server on loopback: takes deliveries, checks them as the Standard Webhooks library does, behaves as told. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PATIENCE_MS } from '../env/until.ts';

export interface ReceivedRequest {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
  id: string;
  event: { type: string; timestamp: string; data: Record<string, unknown> };
  at: number;
}
export type Behaviour = (got: ReceivedRequest, response: ServerResponse) => void | Promise<void>;

export class Receiver {
  readonly requests: ReceivedRequest[] = [];
  readonly connections = new Set<import('node:net').Socket>();
  connectionCount = 0;
  #behave: Behaviour;
  #waiting: { ready: () => boolean; done: () => void }[] = [];
  readonly #server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      const got: ReceivedRequest = {
        path: request.url!,
        headers: request.headers,
        body,
        id: String(request.headers['webhook-id']),
        event: JSON.parse(body),
        at: performance.now(),
      };
      this.requests.push(got);
      void this.#behave(got, response);
      this.#look();
    });
  });

  static readonly #all = new Set<Receiver>();

  /** Also those of tests that failed. */
  static async closeAll(): Promise<void> {
    await Promise.all([...Receiver.#all].map((one) => one.close()));
  }

  private constructor(behave: Behaviour) {
    Receiver.#all.add(this);
    this.#behave = behave;
    this.#server.on('connection', (socket) => {
      this.connectionCount++;
      this.connections.add(socket);
      socket.on('close', () => this.connections.delete(socket));
    });
  }

  static async start(
    behave: Behaviour = (_, response) => void response.writeHead(204).end(),
    port = 0,
  ): Promise<Receiver> {
    const one = new Receiver(behave);
    await new Promise<void>((resolve) => one.#server.listen(port, '127.0.0.1', resolve));
    return one;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }
  get url(): string {
    return `http://127.0.0.1:${this.port}/hook`;
  }

  respondWith(behave: Behaviour): void {
    this.#behave = behave;
  }

  /** Resolves once there are so many requests (that the filter lets pass). */
  async waitForCount(
    n: number,
    of: (got: ReceivedRequest) => boolean = () => true,
    timeoutMs = PATIENCE_MS,
  ): Promise<ReceivedRequest[]> {
    await this.waitUntil(() => this.requests.filter(of).length >= n, timeoutMs);
    return this.requests.filter(of);
  }

  waitUntil(ready: () => boolean, timeoutMs = PATIENCE_MS): Promise<void> {
    if (ready()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`the receiver waits in vain; it has ${this.requests.length} requests`)),
        timeoutMs,
      );
      this.#waiting.push({
        ready,
        done: () => {
          clearTimeout(timer);
          resolve();
        },
      });
    });
  }

  async close(): Promise<void> {
    if (!Receiver.#all.delete(this)) return;
    this.#server.closeAllConnections();
    for (const socket of this.connections) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #look(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) {
      if (one.ready()) one.done();
      else this.#waiting.push(one);
    }
  }
}
