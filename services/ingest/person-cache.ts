/**
 * Caches people for ingest: their devices, and their greatest client message id. All partitions of a process share it. Core
 * events (`people.<user>`) say when a cached person is out of date.
 */
import { BatchCache } from './batch-cache.ts';
import type { Person, Store } from './store.ts';

/** Look-ups of one call: a person who changes during each of them is taken as found by the last one. */
const MAX_LOOKUPS = 5;

export class PersonCache {
  readonly #people: BatchCache<Person>;
  /** Look-ups under way, each with the people who changed since it began. */
  readonly #lookups = new Set<{ stale: Set<string>; all: boolean }>();

  constructor(max: number) {
    this.#people = new BatchCache(max);
  }

  /**
   * Notes that the person had this id accepted. A look-up under way may have read Postgres before the message was stored, so it
   * is repeated; otherwise a repetition of the id would pass for a new one.
   */
  raiseGreatest(user: string, clientMessageId: string): void {
    const person = this.#people.get(user);
    if (person && clientMessageId > person.greatest) person.greatest = clientMessageId;
    if (!person) for (const lookup of this.#lookups) lookup.stale.add(user);
  }

  /** Drops a person whose devices or sessions changed. */
  forget(user: string): void {
    this.#people.delete(user);
    for (const lookup of this.#lookups) lookup.stale.add(user);
  }

  forgetAll(): void {
    this.#people.clear();
    for (const lookup of this.#lookups) lookup.all = true;
  }

  /** Returns those of these people whom the cache holds. */
  known(ids: Iterable<string>): ReadonlyMap<string, Person> {
    const known = new Map<string, Person>();
    for (const id of ids) {
      const person = this.#people.get(id);
      if (person) known.set(id, person);
    }
    return known;
  }

  /**
   * Returns those of these people who exist, as they are now. The answer does not change when the cache is trimmed or cleared
   * meanwhile. People who changed while Postgres was answering are looked up again.
   */
  async load(store: Pick<Store, 'people'>, ids: ReadonlySet<string>): Promise<ReadonlyMap<string, Person>> {
    const loaded = new Map<string, Person>();
    let unknown: string[] = [];
    for (const id of ids) {
      const person = this.#people.use(id);
      if (person) loaded.set(id, person);
      else unknown.push(id);
    }
    for (let lookups = 0; unknown.length && lookups < MAX_LOOKUPS; lookups++) {
      const lookup = { stale: new Set<string>(), all: false };
      this.#lookups.add(lookup);
      const found = await store.people(unknown).finally(() => this.#lookups.delete(lookup));
      const changed: string[] = [];
      for (const id of unknown) {
        const person = found.get(id);
        if (person) loaded.set(id, person);
        else loaded.delete(id);
        if (lookup.all || lookup.stale.has(id)) changed.push(id);
        else if (person && !this.#people.has(id)) this.#people.set(id, person);
      }
      unknown = changed;
      this.#people.trim(() => true);
    }
    return loaded;
  }
}
