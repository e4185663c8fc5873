/**
 * Keeps the list of full inboxes in the KV bucket `full`: fanout writes it, ingest watches it and refuses commands. Posts to
 * groups are refused before direct messages are, so that a flooded group does not keep friends from writing.
 */
import { type KV, Kvm } from '@nats-io/kv';
import type { NatsConnection } from 'nats';
import { FULL_BUCKET } from '../topology.ts';

/** The messages that the user's inbox does not take any more. */
export type FullFor = 'groups' | 'all';

/** Decodes a value of the bucket: an empty value was written before groups had a limit of their own. */
const decodeFullFor = (value: string): FullFor => (value === 'groups' ? 'groups' : 'all');

export const openFullInboxes = (nc: NatsConnection): Promise<KV> => new Kvm(nc).open(FULL_BUCKET);

/** Follows the bucket. @returns the full inboxes by user, kept up to date for as long as the connection is open */
export async function watchFullInboxes(nc: NatsConnection): Promise<ReadonlyMap<string, FullFor>> {
  const full = new Map<string, FullFor>();
  const changes = await (await openFullInboxes(nc)).watch();
  void (async () => {
    for await (const change of changes) {
      if (change.operation === 'PUT') full.set(change.key, decodeFullFor(change.string()));
      else full.delete(change.key);
    }
  })();
  return full;
}
