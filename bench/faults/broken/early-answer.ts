/** Breaks an ingest that loads it with `--import`: messages are acknowledged as queued before the log has them. */
import { Publisher } from '../../../nats/publisher.ts';
import { subject } from '../../../nats/topology.ts';

/** Time from the answer to the append. */
const LATE_MS = 300;

Publisher.prototype.appendToLog = function (partition, after, entry) {
  setTimeout(() => void this.publishAll([{ subject: subject.log(partition), data: entry }]).catch(() => {}), LATE_MS);
  return Promise.resolve(after + 1);
};
