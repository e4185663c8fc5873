/** Stores a message that a worker could not handle in the stream DEAD, with the reason in its headers. */
import { JetStreamApiError } from '@nats-io/jetstream';
import { headers, type NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { Metrics } from '../shared/metrics.ts';
import { requestJetStream } from './js-api.ts';
import { subject } from './topology.ts';

interface Worker {
  stage: string;
  partition: number;
  stream: string;
  log: Logger;
  metrics: Metrics;
}

/** @throws when the broker did not store it */
export async function storeDeadLetter(
  nc: NatsConnection,
  { stage, partition, stream, log, metrics }: Worker,
  { data, seq }: { data: Uint8Array; seq: number },
  error: Error,
): Promise<void> {
  const origin = `${stream}.${seq}`;
  const about = headers();
  about.set('Sealwire-Stage', stage);
  about.set('Sealwire-Reason', error.message.slice(0, 200).replaceAll(/[^ -~]/g, '?'));
  about.set('Sealwire-Origin', origin);
  // A worker that is restarted meets the same message and stores it again: the broker drops the repetition.
  about.set('Nats-Msg-Id', `${stage} ${origin}`);
  await requestJetStream(nc, subject.dead(stage), data, { headers: about }).catch((reason: unknown) => {
    if (!(reason instanceof JetStreamApiError)) throw reason;
    throw new Error(`the dead letter could not be stored: ${reason.message}`, { cause: reason });
  });
  metrics.dead.inc({ stage, reason: error.name });
  log.error({ stage, partition, origin, reason: error.message }, 'dead letter');
}
