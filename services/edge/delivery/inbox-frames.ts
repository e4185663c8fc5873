/** What a device is told of its inbox as a whole: the welcome, that it lost something, that it has everything. */
import type { Connection } from '../connections/connection.ts';
import { welcome } from './welcome.ts';

export class Told {
  readonly #session: Connection;
  readonly #shard: number;
  #greeted = false;
  /** `inbox.empty` is due once the device is live. */
  #announce = true;
  #owesEmpty = false;

  constructor(session: Connection, shard: number) {
    this.#session = session;
    this.#shard = shard;
  }

  /** `inbox.empty` waits until fanout has written again what the broker may have lost. */
  get owesEmpty(): boolean {
    return this.#owesEmpty;
  }

  /** The first frame; only once. */
  welcome(cursor: number, backlog: number): void {
    if (this.#greeted) return;
    this.#greeted = true;
    const lineage = this.#session.edge.shards.get(this.#shard)!;
    this.#session.say(welcome(this.#session, { cursor, backlog, lineage }));
  }

  gap(from: number, to: number, reason: 'retention' | 'quota' | 'reset'): void {
    this.#session.say(`{"type":"inbox.gap","from":${from},"to":${to},"reason":"${reason}"}`);
    this.#session.edge.tally.gap++;
    this.#announce = true;
  }

  /** A replay begins. */
  behind(): void {
    this.#announce = true;
  }

  /** The device is live. False where items that the broker lost may still come: the clock tries again. */
  live(cursor: number): boolean {
    if (!this.#announce) return true;
    this.#owesEmpty = !this.#session.edge.shards.whole(this.#shard);
    if (this.#owesEmpty) return false;
    this.#session.say(`{"type":"inbox.empty","cursor":${cursor}}`);
    this.#announce = false;
    return true;
  }
}
