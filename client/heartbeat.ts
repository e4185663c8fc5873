/** Notices a half-open socket, which accepts everything and delivers nothing: pings after a silence, then reports it dead. */
interface HeartbeatEvents {
  /** Called after each interval in which the server was heard. */
  onAlive(): void;
  sendPing(): void;
  /** Called when the server was silent for one more interval after the ping. */
  onDead(): void;
}

export class Heartbeat {
  #timer: ReturnType<typeof setInterval> | undefined;
  #wasHeard = true;
  #wasPinged = false;
  readonly #events: HeartbeatEvents;

  constructor(events: HeartbeatEvents) {
    this.#events = events;
  }

  /** Starts to watch a new socket, checking it every `intervalMs`. */
  start(intervalMs: number): void {
    this.close();
    this.#wasHeard = true;
    this.#wasPinged = false;
    this.#timer = setInterval(() => this.#check(), intervalMs);
  }

  /** Must be called for each sign of life of the server. */
  noteActivity(): void {
    this.#wasHeard = true;
  }

  /** Stops watching. `start` may be called again. */
  close(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    if (this.#wasHeard) {
      this.#wasHeard = false;
      this.#wasPinged = false;
      this.#events.onAlive();
    } else if (this.#wasPinged) {
      this.#events.onDead();
    } else {
      this.#wasPinged = true;
      this.#events.sendPing();
    }
  }
}
