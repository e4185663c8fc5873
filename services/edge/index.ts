/**
 * edge: connects devices with the pipeline. Takes commands from sockets to ingest, and brings each device its inbox: live items
 * by one core subscription per connected user, what a device missed from its durable consumer.
 */
import type { NatsConnection } from 'nats';
import { CommandLimits } from '../../nats/command-limits.ts';
import { Gateway } from '../../nats/gateway.ts';
import { watchRevocations } from '../../nats/revocations.ts';
import { CLOSE } from '../../shared/contract/protocol.ts';
import { openDatabase } from '../../shared/db/database.ts';
import { hostInUrl } from '../../shared/host-in-url.ts';
import { createOrigins } from '../../shared/origins.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { CommandDispatcher } from './commands/command-dispatcher.ts';
import { Admission } from './connections/admission.ts';
import type { Connection } from './connections/connection.ts';
import { ConnectionCounts } from './connections/connection-counts.ts';
import { type ConnectedDevices, Connections } from './connections/connections.ts';
import { type EdgeCounts, startHousekeeping } from './connections/housekeeping.ts';
import { CursorWriter } from './delivery/cursor-writer.ts';
import { DeliveryReceipts } from './delivery/delivery-receipts.ts';
import { DeviceSignals } from './delivery/device-signals.ts';
import type { InboxOptions } from './delivery/inbox-options.ts';
import { LiveSubscriptions } from './delivery/live-subscriptions.ts';
import { watchBroker } from './offline/broker-status.ts';
import { ConsumerScheduler } from './offline/consumer-scheduler.ts';
import { CursorMaps } from './offline/cursor-maps.ts';
import { watchDeletedDevices } from './offline/deleted-devices.ts';
import { DeviceConsumers } from './offline/device-consumers.ts';
import { Presence } from './offline/presence.ts';
import { StreamFactsReader } from './offline/stream-facts.ts';
import { listen } from './websocket-server.ts';

/** Opens what brings the inboxes to the devices, in the order in which the parts need each other. */
function openDelivery({ config, log, db }: Context, nc: NatsConnection, connected: ConnectedDevices) {
  const inboxes = () => Array.from(connected.values(), ({ inbox }) => inbox);
  const cursors = new CursorWriter(db, log);
  const receipts = new DeliveryReceipts(nc, config, cursors);
  const signals = new DeviceSignals(nc, config);
  const cursorMaps = new CursorMaps(nc, config, (shard) => {
    for (const inbox of inboxes()) if (inbox.shard === shard) inbox.restart();
  });
  const streamFacts = new StreamFactsReader(nc);
  const consumers = new DeviceConsumers(nc, config, streamFacts);
  const scheduler = new ConsumerScheduler({
    nc,
    log,
    config,
    consumers,
    cursorMaps,
    connected,
    onDurableMade: ({ user_id, device_id }) => signals.publish(user_id, { t: 'away', device_id }),
  });
  const subscriptions = new LiveSubscriptions(nc, config, scheduler);
  const presence = new Presence({ nc, db, log, config, cursors, connected });
  const broker = watchBroker(nc, inboxes);
  watchDeletedDevices(nc, (device) => {
    scheduler.forgetDevice(device);
    cursors.forgetDevice(device.device_id);
  });
  return { cursors, receipts, signals, cursorMaps, streamFacts, consumers, scheduler, subscriptions, presence, broker };
}

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('edge');
  const historyDb = await openDatabase({ ...config, DATABASE_POOL: config.HISTORY_POOL }, log);
  const connected: ConnectedDevices = new Map();
  const counts: EdgeCounts = { in: 0, out: 0, backfill: 0, gap: 0 };
  const connectionsToCheck = new Set<Connection>();
  const inboxesToCheck: InboxOptions['needsAttention'] = new Set();
  const gateway = new Gateway(nc, config);
  const limits = new CommandLimits({ nc, config });
  const delivery = openDelivery(context, nc, connected);
  const { cursors, cursorMaps, scheduler, presence, broker } = delivery;
  const revocations = await watchRevocations({
    nc,
    db,
    log,
    config,
    onEnded({ session_id, device_id }) {
      const connection = connected.get(device_id)?.connection;
      if (connection?.session_id === session_id) connection.close(CLOSE.unauthenticated, 'this session has ended');
    },
  });
  const connections = new Connections({
    ...delivery,
    config,
    log,
    metrics,
    connected,
    connectionOptions: { config, counts, needsAttention: connectionsToCheck },
    inboxOptions: { ...delivery, nc, config, log, revocations, counts, needsAttention: inboxesToCheck },
  });
  const connectionCounts = new ConnectionCounts(config, connected);
  const admission = new Admission({ db, config, revocations, connectionCounts });
  const dispatcher = new CommandDispatcher({ config, log, db, historyDb, gateway, limits, counts });
  const toCheck = { connected, connectionsToCheck, inboxesToCheck };
  const housekeeping = startHousekeeping({ config, log, metrics, counts, ...toCheck });
  const origins = createOrigins(config, 'WS_ALLOWED_ORIGINS', log);
  const opening = { config, log, metrics, admission, connectionCounts, connections, dispatcher };
  const server = await listen({ context, admission, origins, opening });

  async function close(): Promise<void> {
    server.stopListening();
    await connections.drain(() => gateway.inFlight);
    await housekeeping.close();
    await scheduler.close();
    cursorMaps.close();
    await presence.close();
    server.close();
    gateway.close();
    await revocations.close();
    await cursors.close();
    await historyDb.close();
    await nc.drain();
  }

  function readiness(): true | string {
    if (!broker.isConnected) return 'not connected to NATS';
    if (!revocations.isKnown) return 'the list of ended sessions is not loaded yet';
    return cursorMaps.isReady || 'waiting for fanout to write the cursor maps of the inboxes';
  }

  return { ready: readiness, addresses: { edge: `ws://${hostInUrl(config.HOST)}:${server.port}/v1/ws` }, close };
}

const definition: ServiceDefinition = { open };
export default definition;
