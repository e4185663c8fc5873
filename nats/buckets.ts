/** The KV buckets as the streams that they are; their names stand in topology.ts. */
import type { Config } from '../shared/config/index.ts';
import { FULL_BUCKET, LINEAGE_BUCKET, type StreamSpec } from './topology.ts';

/** Buckets are streams named `KV_<bucket>`, laid out as KV clients expect; they hold little and change rarely. */
export const BUCKETS = [
  { name: LINEAGE_BUCKET, about: 'Which cursors belong to which stretch of an inbox shard.', history: 1 },
  { name: FULL_BUCKET, about: 'Users whose inbox is full.', history: 1 },
] as const;

export function buckets(config: Config): StreamSpec[] {
  return BUCKETS.map(({ name, about, history }) => ({
    config: {
      name: `KV_${name}`,
      description: about,
      subjects: [`$KV.${name}.>`],
      retention: 'limits',
      storage: 'file',
      discard: 'new',
      max_msgs_per_subject: history,
      max_consumers: 10_000,
      num_replicas: config.STREAM_REPLICAS,
      allow_rollup_hdrs: true,
      deny_delete: true,
      allow_direct: true,
    },
    consumers: [],
  }));
}
