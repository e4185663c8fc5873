/** Subjects of the JetStream API and the two forms of requesting it. Permissions are generated from the same builders. */
import { JetStreamApiError } from '@nats-io/jetstream';
import type { Msg, MsgHdrs, NatsConnection } from 'nats';
import type { ApiErrorBody } from './errors.ts';
import { timeoutsOf } from './jetstream-manager.ts';

/** Header of a publish that the stream refuses when the subject's last message has another sequence; it stays in the message. */
export const EXPECTED_LAST = 'Nats-Expected-Last-Subject-Sequence';

/** A `stream` or `consumer` may be a wildcard: `*` for one token, `>` for the rest. */
export const jsApi = {
  streamInfo: (stream: string) => `$JS.API.STREAM.INFO.${stream}`,
  streamCreate: (stream: string) => `$JS.API.STREAM.CREATE.${stream}`,
  streamUpdate: (stream: string) => `$JS.API.STREAM.UPDATE.${stream}`,
  streamDelete: (stream: string) => `$JS.API.STREAM.DELETE.${stream}`,
  streamPurge: (stream: string) => `$JS.API.STREAM.PURGE.${stream}`,
  /** Reads one message by way of the stream's leader. */
  streamMessage: (stream: string) => `$JS.API.STREAM.MSG.GET.${stream}`,
  /** Reads messages from any replica, which may lag behind the leader. */
  directGet: (stream: string) => `$JS.API.DIRECT.GET.${stream}`,
  /** Reads the last message of a subject from any replica; the request has no body. */
  directGetLast: (stream: string, subject: string) => `$JS.API.DIRECT.GET.${stream}.${subject}`,
  /** Clients that let the server choose the consumer's name leave `consumer` out. */
  consumerCreate: (stream: string, consumer?: string) =>
    `$JS.API.CONSUMER.CREATE.${stream}${consumer === undefined ? '' : `.${consumer}`}`,
  consumerInfo: (stream: string, consumer: string) => `$JS.API.CONSUMER.INFO.${stream}.${consumer}`,
  consumerReset: (stream: string, consumer: string) => `$JS.API.CONSUMER.RESET.${stream}.${consumer}`,
  consumerDelete: (stream: string, consumer: string) => `$JS.API.CONSUMER.DELETE.${stream}.${consumer}`,
  /** Takes pull requests. */
  consumerNext: (stream: string, consumer: string) => `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`,
  /** Acknowledgements of one consumer, or of all consumers of a stream. */
  acks: (stream: string, consumer?: string) => `$JS.ACK.${stream}${consumer === undefined ? '' : `.${consumer}`}.>`,
  flowControl: (stream: string) => `$JS.FC.${stream}.>`,
} as const;

/**
 * Sends a request to the JetStream API, or publishes to a stream and waits for its acknowledgement. Plain objects are sent as JSON.
 * @throws {JetStreamApiError} when the answer is an error; see the predicates of errors.ts
 */
export async function requestJetStream<T = unknown>(
  nc: NatsConnection,
  subject: string,
  request: object | string | Uint8Array = '',
  { timeoutMs = timeoutsOf(nc).requestMs, headers }: { timeoutMs?: number; headers?: MsgHdrs } = {},
): Promise<T> {
  const body = typeof request === 'string' || request instanceof Uint8Array ? request : JSON.stringify(request);
  const reply = await nc.request(subject, body, { timeout: timeoutMs, ...(headers ? { headers } : {}) });
  const answer = reply.json<T & { error?: ApiErrorBody }>();
  if (answer.error) throw new JetStreamApiError(answer.error);
  return answer;
}

/**
 * Reads one message by direct get: `subject` is of `jsApi.directGet` (with a `query`) or `jsApi.directGetLast`.
 * @returns undefined when there is no such message
 */
export async function requestDirect(
  nc: NatsConnection,
  subject: string,
  query?: object,
  timeoutMs = timeoutsOf(nc).requestMs,
): Promise<Msg | undefined> {
  const body = query === undefined ? '' : JSON.stringify(query);
  const reply = await nc.request(subject, body, { timeout: timeoutMs });
  const code = reply.headers?.code ?? 0;
  if (code === 404) return undefined;
  if (code !== 0) throw new Error(`${subject}: ${code} ${reply.headers?.description}`);
  return reply;
}

/** The stream sequence of a message that `requestDirect` returned. */
export const sequenceOfDirect = (message: Msg): number => Number(message.headers?.get('Nats-Sequence') ?? 0);
