/**
 * Parses the acknowledgement subject of a delivery: `$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<delivery
 * sequence>.<ns since 1970>.<pending>`, with a domain, an account and a random part on some servers.
 */
export interface AckSubject {
  /** Stream sequence. */
  seq: number;
  /** Delivery sequence of the consumer; contiguous, so that a lost delivery shows. */
  delivery: number;
  /** When the stream stored the message, ms since 1970. */
  at: number;
  /** Messages of the consumer after this one. */
  pending: number;
}

export function parseAckSubject(reply: string): AckSubject {
  const token = reply.split('.');
  const first = token.length === 9 ? 5 : 7;
  return {
    seq: Number(token[first]),
    delivery: Number(token[first + 1]),
    at: Number(token[first + 2]!.slice(0, -6)),
    pending: Number(token[first + 3]),
  };
}
