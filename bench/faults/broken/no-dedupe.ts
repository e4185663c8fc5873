/** Loaded into an ingest (`--import`), it breaks it: what was accepted is not remembered. */
import { Memory } from '../../../services/ingest/memory.ts';

Memory.prototype.remember = () => {};
