/** Refuses changes to streams and consumers that would lose data or can't be made in place. */
import type { ConsumerConfig, StreamConfig, StreamInfo } from '@nats-io/jetstream';
import type { Config } from '../../shared/config/index.ts';
import type { DurableSpec, StreamSpec } from '../streams.ts';
import { LOG } from '../topology.ts';

/** A difference that is not changed without being told to, e.g. `stream LOG, field retention: it is "limits" …`. */
export class RefusedChange extends Error {
  override name = 'RefusedChange';
}

/** Returns what decides where data is stored: LOG's metadata holds it, and it may not change. */
export const shardingMetadata = (config: Config): Record<string, string> => ({
  partitions: String(config.PARTITIONS),
  inbox_shards: String(config.INBOX_SHARDS),
});

const FIXED_STREAM: (keyof StreamConfig)[] = ['storage', 'retention', 'persist_mode'];
const LIMITS: (keyof StreamConfig)[] = ['max_age', 'max_bytes', 'max_msgs', 'max_msgs_per_subject'];
const FIXED_CONSUMER: (keyof ConsumerConfig)[] = ['ack_policy', 'deliver_policy', 'priority_policy'];
const UNIT: Partial<Record<keyof StreamConfig, string>> = { max_age: 'nanoseconds' };
/** Checkpoints of fanout were stored in the inbox shards' streams before they got a stream of their own. */
const RETIRED_SUBJECT = /^mark\.\d+\.\*$/;

/** `allowLoss`: accept changes that delete old messages. @throws {RefusedChange} */
export function refuseStreamChange(
  { config: want }: StreamSpec,
  { config: have, state }: StreamInfo,
  config: Config,
  allowLoss: boolean,
): void {
  const refuse = (field: string, is: unknown, wanted: unknown, remedy: string): never => {
    throw new RefusedChange(
      `stream ${want.name}, field ${field}: it is ${JSON.stringify(is)}, topology says ${JSON.stringify(wanted)}. ${remedy}`,
    );
  };
  if (want.name === LOG) {
    for (const [field, wanted] of Object.entries(shardingMetadata(config))) {
      const is = have.metadata?.[field];
      if (is !== undefined && is !== wanted)
        refuse(
          `metadata.${field}`,
          is,
          wanted,
          `Set ${field.toUpperCase()}=${is} again: existing data is distributed by it.`,
        );
    }
  }
  for (const field of FIXED_STREAM) {
    if (want[field] === undefined && field === 'persist_mode' && have[field] === undefined) continue;
    const is = have[field] ?? 'default';
    const wanted = want[field] ?? (field === 'persist_mode' ? 'default' : is);
    if (is !== wanted) refuse(field, is, wanted, 'This cannot be changed without creating the stream again.');
  }
  if (allowLoss) return;
  const removed = have.subjects.filter((subject) => !want.subjects.includes(subject) && !RETIRED_SUBJECT.test(subject));
  if (removed.length)
    refuse(
      'subjects',
      have.subjects,
      want.subjects,
      `Messages on ${removed.join(', ')} would become unreachable; pass --allow-loss to apply it anyway.`,
    );
  for (const field of LIMITS) {
    const [is, wanted] = [Number(have[field] ?? 0), Number(want[field] ?? 0)];
    const isSmaller = wanted > 0 && (is <= 0 || wanted < is) && !(field === 'max_bytes' && state.bytes <= wanted);
    const unit = UNIT[field] ? ` (${UNIT[field]})` : '';
    if (isSmaller)
      refuse(field, is, wanted, `The smaller limit${unit} may delete messages; pass --allow-loss to apply it anyway.`);
  }
}

/** @throws {RefusedChange} */
export function refuseConsumerChange(stream: string, want: DurableSpec, have: ConsumerConfig): void {
  for (const field of FIXED_CONSUMER) {
    if (want[field] !== undefined && have[field] !== want[field]) {
      throw new RefusedChange(
        `stream ${stream}, consumer ${want.durable_name}, field ${field}: it is ${JSON.stringify(have[field])}, topology says ${JSON.stringify(want[field])}. Its position would be lost.`,
      );
    }
  }
}
