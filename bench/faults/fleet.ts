/**
 * People with devices who talk: pairs and groups, some people with two devices, some devices that go away and come back.
 * All of them use the client library, and everything that they send, are told and get is written down.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { type DeviceSettings, login, register } from '../../client/index.ts';
import { directConversationId } from '../../shared/ids.ts';
import { Actor, type Target } from './actor.ts';
import type { Journal } from './journal.ts';

export interface Shape {
  pairs: number;
  groups: number;
  groupSize: number;
  /** So many people have a second device. */
  second: number;
  /** So many devices go away and come back, again and again. */
  restless: number;
  /** Messages sent each second by all of them together. */
  rate: number;
  payloadBytes: number;
  /** A client with so many messages without answer waits, as a person would. */
  inFlight: number;
}
export const SHAPE: Shape = {
  ...{ pairs: 8, groups: 3, groupSize: 5, second: 4, restless: 4 },
  ...{ rate: 200, payloadBytes: 300, inFlight: 400 },
};

export interface Place {
  api: string;
  edge: string;
}

const PASSWORD = 'correct horse battery';
const TICK_MS = 20;
const RETURN_MS = 30_000;
/** Pairs that sign up at once. */
const TOGETHER = 16;
let names = 0;
const pick = <T>(from: readonly T[]): T => from[Math.floor(Math.random() * from.length)]!;

export class Fleet {
  readonly actors: Actor[] = [];
  /** Device → user, conversation → users: what the checker has to know. */
  readonly devices = new Map<string, string>();
  readonly members = new Map<string, readonly string[]>();
  readonly journal: Journal;
  readonly #place: Place;
  readonly #shape: Shape;
  /** Messages sent each second by all of them together. */
  rate: number;
  #load: NodeJS.Timeout | undefined;
  #wandering: Promise<void>[] = [];
  #loaded = false;

  constructor(journal: Journal, place: Place, shape: Partial<Shape> = {}) {
    this.journal = journal;
    this.#place = place;
    this.#shape = { ...SHAPE, ...shape };
    this.rate = this.#shape.rate;
  }

  /** Signs everybody up, makes the groups, connects all devices. */
  async open(): Promise<void> {
    const { pairs, groups, groupSize, second } = this.#shape;
    for (let left = pairs; left > 0; left -= TOGETHER) {
      const some = Array.from({ length: Math.min(left, TOGETHER) }, async () => {
        const [a, b] = await Promise.all([this.person(), this.person()]);
        this.pair(a, b);
      });
      await Promise.all(some);
    }
    for (const one of this.actors.slice(0, second)) await this.secondDevice(one);
    for (let i = 0; i < groups; i++) await this.#group(groupSize);
    await Promise.all(this.actors.map((actor) => actor.connect()));
  }

  async person(place = this.#place, settings: Partial<DeviceSettings> = {}): Promise<Actor> {
    const username = `fault_${process.pid}_${Date.now().toString(36)}_${++names}`;
    const session = await register({ api: place.api, username, password: PASSWORD, device: { name: 'one' } });
    session.user.username = username;
    return this.#add(new Actor(this.journal, session, place.edge, settings));
  }

  async secondDevice(of: Actor): Promise<Actor> {
    const identifier = of.session.user.username!;
    const session = await login({ api: this.#place.api, identifier, password: PASSWORD, device: { name: 'two' } });
    session.user.username = identifier;
    const actor = this.#add(new Actor(this.journal, session, this.#place.edge));
    actor.targets.push(...of.targets);
    return actor;
  }

  pair(a: Actor, b: Actor): Target {
    const conversation = directConversationId(a.user, b.user);
    this.members.set(conversation, [a.user, b.user]);
    a.targets.push({ conversation, to: b.user });
    b.targets.push({ conversation, to: a.user });
    return a.targets.at(-1)!;
  }

  payload(bytes = this.#shape.payloadBytes): string {
    return randomBytes(Math.ceil((bytes * 3) / 4)).toString('base64');
  }

  startLoad(): void {
    this.journal.mark('load');
    this.#loaded = true;
    let owed = 0;
    let last = performance.now();
    this.#load = setInterval(() => {
      const now = performance.now();
      owed = Math.min(owed + ((now - last) / 1_000) * this.rate, this.rate);
      last = now;
      for (; owed >= 1; owed--) {
        const actor = pick(this.actors);
        if (actor.targets.length && actor.pending < this.#shape.inFlight)
          void actor.send(pick(actor.targets), this.payload());
      }
    }, TICK_MS);
    this.#wandering = this.actors.slice(-this.#shape.restless || this.actors.length).map((one) => this.#wander(one));
  }

  /** Resolves when everybody who was away is connected again; rejects when somebody can't. */
  async stopLoad(): Promise<void> {
    this.#endLoad();
    const late = pause(RETURN_MS, undefined, { ref: false }).then(() =>
      Promise.reject(new Error(`away for ${RETURN_MS} ms after the load`)),
    );
    await Promise.race([Promise.all(this.#wandering), late]);
  }

  async close(): Promise<void> {
    this.#endLoad();
    let settled = false;
    const wandering = Promise.allSettled(this.#wandering).then(() => {
      settled = true;
    });
    // An actor that was away may be connecting to a system that never comes back: all are asked to leave until none is.
    do {
      await Promise.all(this.actors.map((actor) => actor.leave(false)));
      await Promise.race([wandering, pause(200)]);
    } while (!settled);
    await Promise.all(this.actors.map((actor) => actor.leave(false)));
  }

  #endLoad(): void {
    clearInterval(this.#load);
    if (this.#loaded) this.journal.mark('end');
    this.#loaded = false;
  }

  #add(actor: Actor): Actor {
    this.actors.push(actor);
    this.devices.set(actor.id, actor.user);
    return actor;
  }

  async #group(size: number): Promise<void> {
    const people = [...new Map(this.actors.map((actor) => [actor.user, actor])).values()];
    const [owner, ...others] = people.sort(() => Math.random() - 0.5).slice(0, size);
    const member_ids = others.map(({ user }) => user);
    const { id } = await owner!.session.call<{ id: string }>('POST', '/v1/conversations', {
      type: 'group',
      name: 'faults',
      member_ids,
    });
    const users = [owner!.user, ...member_ids];
    this.members.set(id, users);
    for (const actor of this.actors) if (users.includes(actor.user)) actor.targets.push({ conversation: id });
  }

  /** Away for a while, back for a while, until the load ends; connected at the end. */
  async #wander(actor: Actor): Promise<void> {
    for (let anew = false; this.#loaded; anew = !anew) {
      await pause(300 + Math.random() * 1_200);
      await actor.leave(anew);
      await pause(300 + Math.random() * 1_500);
      await actor.connect();
    }
  }
}
