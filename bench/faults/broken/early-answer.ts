/** Loaded into an ingest (`--import`), it breaks it: `queued` is said before the log has the message. */
import { Publisher } from '../../../nats/publisher.ts';
import { subject } from '../../../nats/topology.ts';

/** How long the append comes after the answer, milliseconds. */
const LATE_MS = 300;

Publisher.prototype.appendToLog = function (partition, after, entry) {
  setTimeout(() => void this.publishAll([{ subject: subject.log(partition), data: entry }]).catch(() => {}), LATE_MS);
  return Promise.resolve(after + 1);
};
