/**
 * edge: devices ↔ the pipeline. Takes commands from sockets to ingest, and brings each device its inbox: live items by one
 * core subscription per connected person, what was missed from the device's durable consumer.
 */
import { CommandLimits } from '../../nats/command-limits.ts';
import { Gateway } from '../../nats/gateway.ts';
import { watchRevocations } from '../../nats/revocations.ts';
import { subject } from '../../nats/topology.ts';
import { CLOSE } from '../../shared/contract/protocol.ts';
import { openDatabase } from '../../shared/db/database.ts';
import { hostInUrl } from '../../shared/host-in-url.ts';
import { shardOf } from '../../shared/ids.ts';
import { decodePersonEvent } from '../../shared/pipeline/person-event.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { startHousekeeping } from './connections/housekeeping.ts';
import { CursorWriter } from './delivery/cursor-writer.ts';
import { DeliveryReceipts } from './delivery/delivery-receipts.ts';
import { LiveSubscriptions } from './delivery/live-subscriptions.ts';
import type { Edge } from './edge.ts';
import { ConsumerScheduler } from './offline/consumer-scheduler.ts';
import { DeviceConsumers } from './offline/device-consumers.ts';
import { InboxShards } from './offline/inbox-shards.ts';
import { Presence } from './offline/presence.ts';
import { listen } from './websocket-server.ts';

/** Clients are spread over so long when an edge goes down: 2 ms for each, within bounds. */
const SPREAD_MS = { each: 2, least: 50, most: 3_000 };
const CLOSE_MS = 1_000;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('edge');
  const cursors = new CursorWriter(db, log);
  const edge = {
    config,
    log,
    metrics,
    db,
    nc,
    gateway: new Gateway(nc, config),
    limits: new CommandLimits({ nc, config }),
    historyDb: await openDatabase({ ...config, DATABASE_POOL: config.HISTORY_POOL }, log),
    cursors,
    delivered: new DeliveryReceipts(nc, config, cursors),
    sessions: new Map(),
    restless: new Set(),
    tally: { in: 0, out: 0, backfill: 0, gap: 0 },
    connected: true,
    draining: false,
  } as unknown as Edge;
  edge.shards = new InboxShards(nc, config, (shard) => {
    for (const session of edge.sessions.values())
      if (shardOf(session.user_id, config.INBOX_SHARDS) === shard) session.inbox.restart();
  });
  edge.replay = new DeviceConsumers(nc, config, edge.shards);
  edge.people = new LiveSubscriptions(edge);
  edge.away = new ConsumerScheduler(edge);
  edge.revocations = await watchRevocations({
    nc,
    db,
    log,
    config,
    onEnded({ session_id, device_id }) {
      const session = edge.sessions.get(device_id);
      if (session?.session_id === session_id) session.end(CLOSE.unauthenticated, 'this session has ended');
    },
  });
  nc.subscribe(subject.people('*'), {
    callback: (error, message) => {
      if (error || message.data.length === 0) return;
      const user_id = message.subject.slice(subject.people('').length);
      for (const device_id of decodePersonEvent(message.string()).removed ?? []) {
        edge.away.removed({ user_id, device_id });
        edge.cursors.forget(device_id);
      }
    },
  });
  edge.presence = new Presence(edge);
  const clock = startHousekeeping(edge);
  const server = await listen(edge, context);

  void (async () => {
    for await (const { type } of nc.status()) {
      if (type === 'disconnect') {
        for (const session of edge.sessions.values()) session.inbox.settle();
        edge.connected = false;
      }
      if (type !== 'reconnect') continue;
      // What was published meanwhile was not heard.
      for (const session of edge.sessions.values()) session.inbox.restart();
      edge.connected = true;
    }
  })();

  async function close(): Promise<void> {
    edge.draining = true;
    const gone = [...edge.sessions.keys()];
    server.stopListening();
    const spread = Math.min(SPREAD_MS.most, Math.max(SPREAD_MS.least, edge.sessions.size * SPREAD_MS.each));
    for (const session of edge.sessions.values())
      session.say(`{"type":"connection.draining","reconnect_in_ms":${Math.floor(Math.random() * spread)}}`);
    await until(() => edge.sessions.size === 0, spread);
    await until(() => edge.gateway.inFlight === 0, CLOSE_MS);
    for (const session of edge.sessions.values()) session.end(CLOSE.restarting, 'restarting');
    await until(() => edge.sessions.size === 0, CLOSE_MS);
    clock.stop();
    edge.away.close();
    edge.shards.close();
    for (const device of gone) edge.presence.gone(device);
    await edge.presence.close();
    server.close();
    edge.gateway.close();
    await edge.revocations.close();
    await edge.cursors.close();
    await edge.historyDb.close();
    await nc.drain();
  }

  return {
    ready: () =>
      !edge.connected
        ? 'not connected to NATS'
        : !edge.revocations.isKnown
          ? 'which sessions ended is not known yet'
          : edge.shards.ready || 'waits for fanout to say which cursors are valid',
    addresses: { edge: `ws://${hostInUrl(config.HOST)}:${server.port}/v1/ws` },
    close,
  };
}

async function until(what: () => boolean, ms: number): Promise<void> {
  for (const end = Date.now() + ms; !what() && Date.now() < end; ) await pause(5);
}

const definition: ServiceDefinition = { open };
export default definition;
