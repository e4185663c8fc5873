import { headers, type NatsConnection } from 'nats';
import { subject } from './topology.ts';

export interface PubAck {
  seq: number;
}

/** What JetStream says to a publish; its errors keep their code. */
export class AppendError extends Error {
  readonly code: number;
  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

/** Reads a publish acknowledgement; throws AppendError when it is none. */
export function parseAck(data: Uint8Array): PubAck {
  if (data.length === 0) throw new AppendError('no stream took the message', 503);
  const answer = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.length).toString()) as PubAck & {
    error?: { err_code: number; description: string };
  };
  if (answer.error) throw new AppendError(answer.error.description, answer.error.err_code);
  return answer;
}

/**
 * Appends one entry to a partition of LOG, provided that its last entry is still `after`: the fence that keeps a worker
 * which lost its partition from writing. Resolves with the entry's sequence once the broker has it (fsynced in the
 * durable profile); rejects when it may or may not have it.
 */
export async function appendLog(
  nc: NatsConnection,
  partition: number,
  after: number,
  entry: Uint8Array,
): Promise<number> {
  const expect = headers();
  expect.set('Nats-Expected-Last-Subject-Sequence', String(after));
  const reply = await nc.request(subject.log(partition), entry, { headers: expect, timeout: 10_000 });
  return parseAck(reply.data).seq;
}
