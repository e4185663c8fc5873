/** Names the JetStream error codes that this project reacts to. No other file may contain such a number. */

/** Codes of JetStream's `err_code`, see server/errors.json of nats-server. */
const JS_ERROR = {
  noSuitablePeers: 10005,
  consumerNotFound: 10014,
  insufficientResources: 10023,
  memoryExceeded: 10028,
  noMessageFound: 10037,
  storageExceeded: 10047,
  streamNameInUse: 10058,
  streamNotFound: 10059,
  wrongLastSequence: 10071,
  consumerExists: 10148,
} as const;

/** The error of a JetStream API answer, as it is on the wire. */
export interface ApiErrorBody {
  /** HTTP-like status. */
  code: number;
  err_code: number;
  description: string;
}

/**
 * Reads the JetStream code of an error: of an answer's `error` (`err_code`), of the client library's `JetStreamApiError` or
 * of a `PublishError` (both `code`).
 */
function codeOf(error: unknown): unknown {
  const { err_code, code } = (error ?? {}) as { err_code?: unknown; code?: unknown };
  return err_code ?? code;
}

const is =
  (...codes: number[]) =>
  (error: unknown): boolean =>
    codes.includes(codeOf(error) as number);

export const isStreamNotFound = is(JS_ERROR.streamNotFound);
/** The consumer does not exist, or its whole stream does not. */
export const isConsumerOrStreamNotFound = is(JS_ERROR.consumerNotFound, JS_ERROR.streamNotFound);
/** A consumer of that name exists with another configuration. */
export const isConsumerExists = is(JS_ERROR.consumerExists);
/** No message has the sequence or the subject that was asked for. */
export const isNoMessage = is(JS_ERROR.noMessageFound);
/** The last message of the subject is another one than the publisher expected. */
export const isWrongLastSequence = is(JS_ERROR.wrongLastSequence);
/** No node of the cluster can take the stream; the description gives the reason. */
export const isNoSuitablePeers = is(JS_ERROR.noSuitablePeers);
/** More is reserved than the server may use, in memory or on disk. */
export const isOutOfResources = is(JS_ERROR.insufficientResources, JS_ERROR.memoryExceeded, JS_ERROR.storageExceeded);
