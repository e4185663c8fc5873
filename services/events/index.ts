/**
 * events: LOG and the outbox → EVENTS. What a partition's entries made happen is told once and in order: each message
 * says up to which entry it tells, and is taken only after the one that this worker saw last.
 */
import { Retake } from '../../nats/consume.ts';
import { logHead } from '../../nats/log.ts';
import { logWriters } from '../../nats/log-writer.ts';
import { PublishError, Publisher } from '../../nats/publish.ts';
import { earliest } from '../../nats/standing.ts';
import { subject } from '../../nats/topology.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/lifecycle.ts';
import { encodeLines } from '../../shared/pipeline/events.ts';
import { linesOf } from './handle.ts';
import { Outbox } from './outbox.ts';
import { about, type Place, readPlace } from './store.ts';

const WINDOW = 64;
/** A message tells no more events than these: about 1 MB, where the broker takes 8. */
const MESSAGE_EVENTS = 2_500;

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('events');
  const publisher = new Publisher(nc);
  const outbox = new Outbox(db, publisher, log);

  const writers = logWriters(nc, context, 'events', (partition) => {
    let place: Place = { told: 0, entry: 0, log: '' };
    return {
      window: WINDOW,
      apartMs: config.BEHIND_MS,
      async takeOver() {
        const { head, created } = await logHead(nc, partition);
        const found = await readPlace(nc, partition);
        const goesOn = found.log === created && found.entry <= head;
        place = goesOn ? found : { told: found.told, entry: 0, log: created };
        if (goesOn) return found.entry + 1;
        // Nothing told yet: from the consumer's own position. Told of another log: this one from its start.
        return found.log === '' ? undefined : 1;
      },
      async handle(batch) {
        let lines: string[] = [];
        /** Tells what there is: all up to `entry`, and `part` of the one after it. */
        const close = async (entry: number, part?: Place['part']): Promise<void> => {
          if (lines.length) place.told = await publish(partition, { ...place, entry, part }, lines);
          place.entry = entry;
          place.part = part;
          metrics.records.inc({ stage: 'events', outcome: 'ok' }, lines.length);
          metrics.batch.observe({ stage: 'events' }, lines.length);
          lines = [];
        };
        const entries = batch.filter(({ seq }) => seq > place.entry);
        for (const [i, { seq, value }] of entries.entries()) {
          const all = value.flatMap(linesOf);
          let told = place.part?.entry === seq ? place.part.events : 0;
          while (lines.length + all.length - told > MESSAGE_EVENTS) {
            const upTo = told + MESSAGE_EVENTS - lines.length;
            lines.push(...all.slice(told, upTo));
            told = upTo;
            await close(entries[i - 1]?.seq ?? place.entry, { entry: seq, events: told });
          }
          lines.push(...all.slice(told));
          if (i === entries.length - 1) await close(seq);
        }
      },
    };
  });

  async function publish(partition: number, place: Place, lines: string[]): Promise<number> {
    try {
      return await publisher.follow(subject.eventsOf(partition), place.told, encodeLines(lines), about(place));
    } catch (error) {
      if (error instanceof PublishError) throw new Retake(`EVENTS: ${error.message}`);
      throw error;
    }
  }

  return {
    ready: () => outbox.trouble ?? writers.map((writer) => writer.ready()).find((state) => state !== true) ?? true,
    brokerRefusesSince: () => earliest(publisher.refusesSince, ...writers.map((writer) => writer.refusedSince)),
    close: async () => {
      await Promise.all([...writers.map((writer) => writer.close()), outbox.close()]);
      publisher.close();
      await nc.drain();
    },
  };
}

const definition: ServiceDefinition = {
  name: 'events',
  about: 'tells what happened: LOG and the outbox to EVENTS',
  open,
};
export default definition;
