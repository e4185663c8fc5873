/** Builds the text that the `signature` of a message covers. Pure, for clients and servers alike. */
export interface Signable {
  conversation_id: string;
  client_message_id: string;
  payload?: string | undefined;
  envelopes?: { device_id: string; payload: string }[] | undefined;
}

const utf8 = new TextEncoder();

/**
 * Returns the text whose UTF-8 bytes are signed by Ed25519 (RFC 8032), in lines. With a payload: `sealwire payload 1`, conversation, client
 * message id, payload. With envelopes: `sealwire envelopes 1`, conversation, client message id, and for each, in the order
 * in which they are sent, `<device id> <bytes of the payload> <payload>`.
 */
export function signedText({ conversation_id, client_message_id, payload, envelopes }: Signable): string {
  if (payload !== undefined) return `sealwire payload 1\n${conversation_id}\n${client_message_id}\n${payload}`;
  const lines = (envelopes ?? []).map((one) => `${one.device_id} ${utf8.encode(one.payload).length} ${one.payload}`);
  return ['sealwire envelopes 1', conversation_id, client_message_id, ...lines].join('\n');
}
