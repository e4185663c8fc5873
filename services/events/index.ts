/**
 * events: LOG and the outbox → EVENTS. What a partition's entries made happen is told once and in order: each message
 * says up to which entry it tells, and is taken only after the one that this worker saw last.
 */

import { earliest } from '../../nats/consumer-monitor.ts';
import { createLogConsumers } from '../../nats/log-consumers.ts';
import { readLogHead } from '../../nats/log-reader.ts';
import { RestoreRequired } from '../../nats/partition-consumer.ts';
import { PublishError, Publisher } from '../../nats/publisher.ts';
import { subject } from '../../nats/topology.ts';
import { encodeLines } from '../../shared/pipeline/events.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { linesOf } from './handle.ts';
import { Outbox } from './outbox.ts';
import { about, type Place, readPlace } from './store.ts';

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('events');
  const publisher = new Publisher(nc);
  const outbox = new Outbox(db, publisher, log);

  const writers = createLogConsumers(nc, context, 'events', (partition) => {
    let place: Place = { told: 0, entry: 0, log: '' };
    return {
      window: config.EVENTS_WINDOW,
      apartMs: config.BEHIND_MS,
      async restore() {
        const { head, last, created } = await readLogHead(nc, partition);
        const found = await readPlace(nc, partition);
        // Beyond the partition's head, where its entries were removed for their age, it is still a place in this log.
        const goesOn = found.log === created && found.entry <= last;
        // Made anew: nothing of it was told. Gone back: what it still holds was.
        place = goesOn ? found : { told: found.told, entry: found.log === created ? head : 0, log: created };
        // Nothing told yet: from the consumer's own position.
        return found.log === '' ? undefined : place.entry + 1;
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
          while (lines.length + all.length - told > config.EVENTS_MAX_PER_MESSAGE) {
            const upTo = told + config.EVENTS_MAX_PER_MESSAGE - lines.length;
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
      return await publisher.publishAfter(subject.eventsOf(partition), place.told, encodeLines(lines), about(place));
    } catch (error) {
      if (error instanceof PublishError) throw new RestoreRequired(`EVENTS: ${error.message}`);
      throw error;
    }
  }

  return {
    ready: () => outbox.trouble ?? writers.map((writer) => writer.ready()).find((state) => state !== true) ?? true,
    brokerRefusesSince: () => earliest(publisher.refusesSince, ...writers.map((writer) => writer.refusesSince)),
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
