/** Runs the periodic work of an edge: heartbeats, slow readers, sockets that do not close, inboxes without progress, metrics. */
import type { Logger } from 'pino';
import { type PeriodicTask, startPeriodicTask } from '../../../shared/async/periodic-task.ts';
import type { Config } from '../../../shared/config/index.ts';
import { CLOSE } from '../../../shared/contract/protocol.ts';
import type { Metrics } from '../../../shared/metrics.ts';
import type { InboxOptions } from '../delivery/inbox-options.ts';
import type { Connection, ConnectionOptions } from './connection.ts';
import type { ConnectedDevices } from './connections.ts';

const TICK_MS = 250;
/** A socket whose peer does not answer the close frame is terminated after this. */
const CLOSING_MS = 5_000;

/** Events since the last tick, by outcome of the metric `records`: frames in and out, replays begun, gaps. */
export interface EdgeCounts {
  in: number;
  out: number;
  backfill: number;
  gap: number;
}
interface HousekeepingOptions {
  config: Pick<Config, 'WS_HEARTBEAT_SEC' | 'WS_SLOW_READER_SEC'>;
  log: Logger;
  metrics: Metrics;
  counts: EdgeCounts;
  connected: ConnectedDevices;
  connectionsToCheck: ConnectionOptions['needsAttention'];
  inboxesToCheck: InboxOptions['needsAttention'];
}

export function startHousekeeping(options: HousekeepingOptions): PeriodicTask {
  const { config, log, metrics, counts, connected, connectionsToCheck, inboxesToCheck } = options;
  const heartbeatMs = config.WS_HEARTBEAT_SEC * 1_000;
  let roundStartedAt = Date.now();
  let toPing: Connection[] = [];
  let pingsPerTick = 0;

  /** Pings every connection once in a heartbeat interval, an equal share of them each tick. */
  function sendHeartbeats(now: number): void {
    if (toPing.length === 0) {
      if (now - roundStartedAt < heartbeatMs) return;
      toPing = Array.from(connected.values(), ({ connection }) => connection);
      roundStartedAt = now;
      pingsPerTick = Math.ceil((toPing.length * TICK_MS) / heartbeatMs);
    }
    for (const connection of toPing.splice(-Math.max(1, pingsPerTick))) connection.ping();
  }

  function checkConnection(connection: Connection, now: number): void {
    if (connection.closingSince) {
      if (now - connection.closingSince > CLOSING_MS) connection.terminate();
      return;
    }
    // An event of the socket may have been missed; its buffer can't lie.
    connection.checkRoom();
    if (connection.fullSince && now - connection.fullSince > config.WS_SLOW_READER_SEC * 1_000)
      connection.close(CLOSE.slow_or_idle, 'reads too slowly');
  }

  function addToMetrics(): void {
    for (const outcome of ['in', 'out', 'backfill', 'gap'] as const) {
      if (counts[outcome]) metrics.records.inc({ stage: 'edge', outcome }, counts[outcome]);
      counts[outcome] = 0;
    }
  }

  return startPeriodicTask(
    () => {
      const now = Date.now();
      sendHeartbeats(now);
      for (const connection of connectionsToCheck) checkConnection(connection, now);
      for (const inbox of inboxesToCheck) inbox.checkProgress(now);
      addToMetrics();
    },
    { everyMs: TICK_MS, onError: (error) => log.error({ unit: 'housekeeping', err: error }) },
  );
}
