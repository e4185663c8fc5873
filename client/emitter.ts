/**
 * Emits typed events. Unlike EventTarget it returns the promises of its listeners, because an item of the inbox is
 * acknowledged only after they have resolved.
 */
export class Emitter<Events extends { [name: string]: unknown }> {
  #listeners = new Map<keyof Events, ((value: never) => unknown)[]>();

  /** Adds a listener. @returns a function that removes it */
  on<K extends keyof Events>(name: K, listener: (value: Events[K]) => unknown): () => void {
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
    return () => {
      this.#listeners.set(
        name,
        (this.#listeners.get(name) ?? []).filter((other) => other !== listener),
      );
    };
  }

  /** Resolves with the next event of that name that `match` accepts. */
  next<K extends keyof Events>(name: K, match: (value: Events[K]) => boolean = () => true): Promise<Events[K]> {
    return new Promise((resolve) => {
      const remove = this.on(name, (value) => {
        if (!match(value)) return;
        remove();
        resolve(value);
      });
    });
  }

  /** Whether anybody listens to this event. */
  has(name: keyof Events): boolean {
    return (this.#listeners.get(name)?.length ?? 0) > 0;
  }

  /**
   * Calls the listeners in order.
   * @returns a promise only if a listener returned one, so that synchronous listeners cost no turn of the event loop
   */
  protected emit<K extends keyof Events>(name: K, value: Events[K]): undefined | Promise<unknown> {
    const listeners = this.#listeners.get(name);
    if (listeners === undefined) return undefined;
    let promises: unknown[] | undefined;
    for (const listener of listeners) {
      const result = (listener as (value: Events[K]) => unknown)(value);
      if (result instanceof Promise) promises = promises ? [...promises, result] : [result];
    }
    return promises && Promise.all(promises);
  }
}
