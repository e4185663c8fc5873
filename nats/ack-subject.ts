/**
 * What the acknowledgement subject of a delivery tells: `$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.
 * <delivery sequence>.<ns since 1970>.<pending>`, with a domain, an account and a random part on some servers.
 */
export function parseAckSubject(reply: string): { seq: number; delivery: number; at: number; pending: number } {
  const token = reply.split('.');
  const first = token.length === 9 ? 5 : 7;
  return {
    seq: Number(token[first]),
    delivery: Number(token[first + 1]),
    at: Number(token[first + 2]!.slice(0, -6)),
    pending: Number(token[first + 3]),
  };
}
