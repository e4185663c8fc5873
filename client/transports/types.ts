/** The interface between a Device and its socket, implemented for the global WebSocket and for the `ws` package. */
export interface TransportSocket {
  send(text: string): void;
  /** Starts the closing handshake. The event `close` follows. */
  close(code: number): void;
  /** Drops the socket at once, for a peer that no longer answers. */
  terminate(): void;
}

export interface TransportEvents {
  open(): void;
  message(text: string): void;
  /** A ping frame was received: a sign of life that is no message. */
  alive(): void;
  /**
   * Called once, also when the socket never opened.
   * @param status HTTP status of a refused upgrade, 0 for none; undefined where the transport can't see it
   */
  close(code: number, reason: string, status?: number): void;
}

export interface Transport {
  /** Whether the transport can send an Authorization header. If not, the Device uses a ticket. */
  readonly headers: boolean;
  open(url: string, protocols: string[], headers: Record<string, string>, events: TransportEvents): TransportSocket;
}
