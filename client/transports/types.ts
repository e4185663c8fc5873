/** What a Device needs of a socket; an adapter each for the global WebSocket and for the `ws` package. */
export interface TransportSocket {
  send(text: string): void;
  /** Asks for the closing handshake; `close` of the events follows. */
  close(code: number): void;
  /** Gives the socket up at once, for a peer that does not answer any more. */
  terminate(): void;
}

export interface TransportEvents {
  open(): void;
  message(text: string): void;
  /** A sign of life that is no message (a ping frame). */
  alive(): void;
  /** Once, also when the socket never opened. `status`: HTTP status of a refused upgrade, 0 for none; undefined where it can't be seen. */
  close(code: number, reason: string, status?: number): void;
}

export interface Transport {
  /** Whether it can send an Authorization header; else the Device takes a ticket. */
  readonly headers: boolean;
  open(url: string, protocols: string[], headers: Record<string, string>, events: TransportEvents): TransportSocket;
}
