/** Plays the integrators of the workload webhook-delivery: 100 endpoints, healthy, slow or dead, served by one process. */
import type { ChildProcess } from 'node:child_process';
import { sleep } from '../shared/async/sleep.ts';
import { adminToken } from '../shared/auth/derived.ts';
import { uuid7 } from '../shared/ids.ts';
import { forkModule, nextMessage } from './fork-module.ts';
import type { BenchSystem } from './system.ts';

export const ENDPOINTS = 100;
export const DEAD_ENDPOINTS = 10;
export const SLOW_ENDPOINTS = 10;
const POLL_MS = 20;

/** The process that receives the deliveries of all endpoints and knows how old each was on arrival. */
export class WebhookReceiver {
  readonly #child: ChildProcess;
  readonly port: number;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
  }

  static async open(): Promise<WebhookReceiver> {
    const child = forkModule('./webhook-receiver.ts');
    const { port } = await nextMessage<{ port: number }>(child);
    return new WebhookReceiver(child, port);
  }

  /** Counts the deliveries at healthy endpoints since the last `takeAges`. */
  async count(): Promise<number> {
    this.#child.send('count');
    return (await nextMessage<{ count: number }>(this.#child)).count;
  }

  /** Returns the ages of these deliveries, ms, and starts a new count. */
  async takeAges(): Promise<number[]> {
    this.#child.send('take');
    return (await nextMessage<{ ages: number[] }>(this.#child)).ages;
  }

  /** Waits until `count` deliveries have arrived, or until the time is up. */
  async waitForCount(count: number, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while ((await this.count()) < count && performance.now() < deadline) await sleep(POLL_MS);
  }

  close(): void {
    this.#child.disconnect();
  }
}

/**
 * Registers all endpoints, each for the events of one conversation.
 * @param withBad makes some of the endpoints slow and some dead
 * @returns the ids of the conversations, those of healthy endpoints first
 */
export async function registerEndpoints(system: BenchSystem, port: number, withBad: boolean): Promise<string[]> {
  const token = adminToken(system.localSystem.config);
  const urlOf = (i: number): string => {
    const host = `http://127.0.1.${i + 1}`;
    if (!withBad || i < ENDPOINTS - DEAD_ENDPOINTS - SLOW_ENDPOINTS) return `${host}:${port}/ok`;
    if (i < ENDPOINTS - DEAD_ENDPOINTS) return `${host}:${port}/slow`;
    // Half of the dead endpoints refuse the connection, half accept it and never answer.
    return i % 2 ? `${host}:1/` : `${host}:${port}/hang`;
  };
  return await Promise.all(
    Array.from({ length: ENDPOINTS }, async (_, i) => {
      const conversation_id = uuid7();
      const response = await fetch(`${system.api}/v1/webhooks/endpoints`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify({ url: urlOf(i), conversation_id }),
      });
      if (response.status !== 201)
        throw new Error(`an endpoint was refused: ${response.status} ${await response.text()}`);
      return conversation_id;
    }),
  );
}
