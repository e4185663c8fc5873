/** Reads and writes how far EVENTS tells each partition: the position is in the headers of the partition's last message. */
import { headers, type MsgHdrs, type NatsConnection } from 'nats';
import { isNoMessage } from '../../nats/errors.ts';
import { jetstreamManager } from '../../nats/jetstream-manager.ts';
import { EVENTS, subject } from '../../nats/topology.ts';

export interface EventPosition {
  /** Sequence in EVENTS of the partition's last message, 0 before the first. */
  lastSeq: number;
  /** Entry of LOG whose events, and those of all before it, are published; `log` is the creation time of that LOG, '' before the first. */
  entry: number;
  log: string;
  /** Number of published events of the entry after it: one entry may fill several messages. */
  part?: { entry: number; events: number } | undefined;
}

const ENTRY = 'Sealwire-Entry';
const STREAM = 'Sealwire-Log';
const PART = 'Sealwire-Part';

/** The headers of a message after which the partition has this position. */
export function positionHeaders({ entry, log, part }: Omit<EventPosition, 'lastSeq'>): MsgHdrs {
  const out = headers();
  out.set(ENTRY, String(entry));
  out.set(STREAM, log);
  if (part) out.set(PART, `${part.entry} ${part.events}`);
  return out;
}

export async function readEventPosition(nc: NatsConnection, partition: number): Promise<EventPosition> {
  const manager = await jetstreamManager(nc);
  try {
    const last = await manager.direct.getMessage(EVENTS, { last_by_subj: subject.eventsOf(partition) });
    if (last) {
      const { seq: lastSeq, header } = last;
      const [entry, events] = header.get(PART).split(' ').map(Number);
      const part = entry && events ? { entry, events } : undefined;
      return { lastSeq, entry: Number(header.get(ENTRY)), log: header.get(STREAM), part };
    }
  } catch (error) {
    if (!isNoMessage(error)) throw error;
  }
  return { lastSeq: 0, entry: 0, log: '' };
}
