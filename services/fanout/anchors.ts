/**
 * Anchors keep the beginning of an inbox shard where it is. Each mark replaces the one before, so the beginning of a shard
 * without older items would move on with every mark, and the edge would tell devices of a loss that never was. An anchor is
 * replaced by nothing: like an item it goes when it is too old, or when somebody purges the stream.
 */

import { JetStreamApiError } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import { manage } from '../../nats/manager.ts';
import { inboxStream, subject } from '../../nats/topology.ts';

const NONE = 10037;
const TIMEOUT_MS = 5_000;
/** Anchors of one retention: the beginning is never younger than the retention by more than the time between two. */
const PER_RETENTION = 30;

export const anchorEveryMs = ({ INBOX_RETENTION_DAYS }: { INBOX_RETENTION_DAYS: number }): number =>
  (INBOX_RETENTION_DAYS * 86_400_000) / PER_RETENTION;

/** Writes an anchor unless the shard has one that is younger than `everyMs`. */
export async function ensureAnchor(nc: NatsConnection, shard: number, everyMs: number): Promise<void> {
  const manager = await manage(nc);
  const anchor = subject.anchor(shard);
  try {
    const last = await manager.direct.getMessage(inboxStream(shard), { last_by_subj: anchor });
    if (last && Date.now() - last.time.getTime() < everyMs) return;
  } catch (error) {
    if (!(error instanceof JetStreamApiError && error.code === NONE)) throw error;
  }
  const stored = await nc.request(anchor, '', { timeout: TIMEOUT_MS });
  const { error } = stored.json<{ error?: { description: string } }>();
  if (error) throw new Error(`${anchor}: ${error.description}`);
}
