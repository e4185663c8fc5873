/** The one timer of an edge: heartbeats, slow readers, sockets that do not close, metrics. */
import { CLOSE } from '../../../shared/contract/protocol.ts';
import type { Edge } from '../edge.ts';
import type { Connection } from './connection.ts';

const TICK_MS = 250;
const CLOSING_MS = 5_000;

export function startHousekeeping(edge: Edge): { stop(): void } {
  const { config, metrics, tally } = edge;
  let pinged = Date.now();
  let queue: Connection[] = [];
  let share = 0;

  function heartbeat(now: number): void {
    // Every socket once in an interval, an equal share of them each tick.
    if (queue.length === 0) {
      if (now - pinged < config.WS_HEARTBEAT_SEC * 1_000) return;
      queue = [...edge.sessions.values()];
      pinged = now;
      share = Math.ceil((queue.length * TICK_MS) / (config.WS_HEARTBEAT_SEC * 1_000));
    }
    for (const session of queue.splice(-Math.max(1, share))) session.ping();
  }

  function look(now: number): void {
    for (const session of edge.restless) {
      if (session.closingSince) {
        if (now - session.closingSince > CLOSING_MS) session.terminate();
        continue;
      }
      if (session.fullSince) {
        // Its events may have been missed; its buffer can't lie.
        session.drained();
        if (session.fullSince && now - session.fullSince > config.WS_SLOW_READER_SEC * 1_000)
          session.end(CLOSE.slow_or_idle, 'reads too slowly');
      }
      session.inbox.check(now);
    }
  }

  function count(): void {
    for (const outcome of ['in', 'out', 'backfill', 'gap'] as const) {
      if (tally[outcome]) metrics.records.inc({ stage: 'edge', outcome }, tally[outcome]);
      tally[outcome] = 0;
    }
  }

  const timer = setInterval(() => {
    const now = Date.now();
    heartbeat(now);
    look(now);
    count();
  }, TICK_MS).unref();
  return { stop: () => clearInterval(timer) };
}
