/** Loaded into an ingest (`--import`), it breaks it: what was accepted is not remembered. */
import { PartitionState } from '../../../services/ingest/partition-state.ts';

PartitionState.prototype.rememberSend = () => {};
