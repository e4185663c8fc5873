/**
 * Constants of the WebSocket protocol, without its schemas. Browsers import this file: the schemas would bring the validator
 * into their bundle.
 */

export const SUBPROTOCOL = 'sealwire.v1.json';
/** Rises when a frame changes so that older clients break; test/contract/protocol-version.test.ts holds the frames against it. */
export const PROTOCOL_VERSION = '1';

/** Codes with which a socket is closed (RFC 6455; the range from 4400 is this protocol's own). */
export const CLOSE = {
  /** The client's own close: it wants no more. */
  normal: 1000,
  restarting: 1012,
  /** The edge could not look up the ticket, session or device just now. */
  try_again: 1013,
  protocol_error: 4400,
  unauthenticated: 4401,
  forbidden: 4403,
  slow_or_idle: 4408,
  replaced: 4409,
  too_many_commands: 4429,
} as const;
