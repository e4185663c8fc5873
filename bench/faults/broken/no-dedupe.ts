/** Breaks an ingest that loads it with `--import`: it does not remember the messages that it has accepted. */
import { PartitionState } from '../../../services/ingest/partition-state.ts';

PartitionState.prototype.rememberSend = () => {};
