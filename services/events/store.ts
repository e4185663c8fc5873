/** Where telling a partition has come to: it stands in EVENTS itself, beside what was told. */

import { JetStreamApiError } from '@nats-io/jetstream';
import { headers, type MsgHdrs, type NatsConnection } from 'nats';
import { jetstreamManager } from '../../nats/jetstream-manager.ts';
import { EVENTS, subject } from '../../nats/topology.ts';

export interface Place {
  /** Sequence in EVENTS of the partition's last message, 0 before the first. */
  told: number;
  /** Entry of LOG up to which it tells, and the creation time of that LOG; '' where nothing was told. */
  entry: number;
  log: string;
  /** Of the entry after it, how many events are told already: one entry may fill several messages. */
  part?: { entry: number; events: number } | undefined;
}

const ENTRY = 'Sealwire-Entry';
const STREAM = 'Sealwire-Log';
const PART = 'Sealwire-Part';

export function about({ entry, log, part }: Omit<Place, 'told'>): MsgHdrs {
  const out = headers();
  out.set(ENTRY, String(entry));
  out.set(STREAM, log);
  if (part) out.set(PART, `${part.entry} ${part.events}`);
  return out;
}

export async function readPlace(nc: NatsConnection, partition: number): Promise<Place> {
  const manager = await jetstreamManager(nc);
  try {
    const last = await manager.direct.getMessage(EVENTS, { last_by_subj: subject.eventsOf(partition) });
    if (last) {
      const { seq: told, header } = last;
      const [of, events] = header.get(PART).split(' ').map(Number);
      const part = of && events ? { entry: of, events } : undefined;
      return { told, entry: Number(header.get(ENTRY)), log: header.get(STREAM), part };
    }
  } catch (error) {
    if (!(error instanceof JetStreamApiError && error.code === 10037)) throw error;
  }
  return { told: 0, entry: 0, log: '' };
}
