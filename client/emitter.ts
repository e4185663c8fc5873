/** Typed events. Unlike EventTarget it hands back what listeners promise, because an item is acknowledged only after them. */
export class Emitter<Events extends { [name: string]: unknown }> {
  #listeners = new Map<keyof Events, ((value: never) => unknown)[]>();

  /** @returns a function that takes the listener away again. */
  on<K extends keyof Events>(name: K, listener: (value: Events[K]) => unknown): () => void {
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
    return () => {
      this.#listeners.set(
        name,
        (this.#listeners.get(name) ?? []).filter((l) => l !== listener),
      );
    };
  }

  /** Resolves with the next event of that name that `match` accepts. */
  next<K extends keyof Events>(name: K, match: (value: Events[K]) => boolean = () => true): Promise<Events[K]> {
    return new Promise((resolve) => {
      const off = this.on(name, (value) => {
        if (!match(value)) return;
        off();
        resolve(value);
      });
    });
  }

  has(name: keyof Events): boolean {
    return (this.#listeners.get(name)?.length ?? 0) > 0;
  }

  /** Calls listeners in order; a promise only if one of them gave a promise, so that plain listeners cost no turn. */
  protected emit<K extends keyof Events>(name: K, value: Events[K]): undefined | Promise<unknown> {
    const listeners = this.#listeners.get(name);
    if (listeners === undefined) return undefined;
    let waits: unknown[] | undefined;
    for (const listener of listeners) {
      const result = (listener as (value: Events[K]) => unknown)(value);
      if (result instanceof Promise) waits = waits ? [...waits, result] : [result];
    }
    return waits && Promise.all(waits);
  }
}
