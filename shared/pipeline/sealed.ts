/** Encodes the sealed text of a message for its command: the payload's JSON literal, or one for each envelope. */
import { ApiError } from '../contract/errors.ts';
import type { MessageSend } from '../contract/frames/client.ts';
import { packEnvelopes } from './commands.ts';

const invalid = (field: string, reason: string): never => {
  throw new ApiError('invalid_request', `${field} ${reason}`, { details: { field } });
};

/** @throws {ApiError} `invalid_request` or `too_large` */
export function sealed({ payload, envelopes }: Pick<MessageSend, 'payload' | 'envelopes'>, maxBytes: number): Buffer {
  const literal = (text: string): string => {
    // UTF-8 takes at most 3 bytes a UTF-16 unit, so most texts need no counting.
    if (text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes)
      throw new ApiError('too_large', `a payload has more than ${maxBytes} bytes`, { details: { limit: maxBytes } });
    return JSON.stringify(text);
  };
  if (payload !== undefined) {
    if (envelopes) invalid('envelopes', 'cannot be given together with payload');
    return Buffer.from(literal(payload));
  }
  if (!envelopes) return invalid('payload', 'is missing: give payload or envelopes');
  if (new Set(envelopes.map(({ device_id }) => device_id)).size < envelopes.length)
    invalid('envelopes', 'name a device twice: give one for each device');
  return packEnvelopes(envelopes.map((one) => literal(one.payload)));
}
