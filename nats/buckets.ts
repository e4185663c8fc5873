/** Specifies the KV buckets as the streams that they are; topology.ts has their names. */
import type { Config } from '../shared/config/index.ts';
import type { StreamSpec } from './streams.ts';
import { bucketKey, bucketStream, FULL_BUCKET, LINEAGE_BUCKET } from './topology.ts';

/** A description that changes makes the next provisioning update the stream. */
const BUCKETS = [
  { name: LINEAGE_BUCKET, description: 'Which cursors belong to which stretch of an inbox shard.' },
  { name: FULL_BUCKET, description: 'Users whose inbox is full.' },
] as const;

/** Buckets are streams named `KV_<bucket>`, laid out as KV clients expect; they hold little and change rarely. */
export function bucketSpecs(config: Config): StreamSpec[] {
  return BUCKETS.map(({ name, description }) => ({
    config: {
      name: bucketStream(name),
      description,
      subjects: [bucketKey(name, '>')],
      retention: 'limits',
      storage: 'file',
      discard: 'new',
      max_msgs_per_subject: 1,
      max_consumers: 10_000,
      num_replicas: config.STREAM_REPLICAS,
      allow_rollup_hdrs: true,
      deny_delete: true,
      allow_direct: true,
    },
    consumers: [],
  }));
}
