/**
 * Keeps the connections of this edge, one for each device: opens them, replaces the older connection of a device, closes them,
 * and drains them all when the edge goes down.
 */
import type { Logger } from 'pino';
import { sleep } from '../../../shared/async/sleep.ts';
import type { Identity } from '../../../shared/auth/tokens.ts';
import type { Config } from '../../../shared/config/index.ts';
import { CLOSE } from '../../../shared/contract/protocol.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { Metrics } from '../../../shared/metrics.ts';
import { CommandClient } from '../commands/command-client.ts';
import type { CursorWriter, DeviceCursor } from '../delivery/cursor-writer.ts';
import { DeviceInbox } from '../delivery/device-inbox.ts';
import type { DeviceSignals } from '../delivery/device-signals.ts';
import type { InboxOptions } from '../delivery/inbox-options.ts';
import type { LiveSubscriptions } from '../delivery/live-subscriptions.ts';
import type { ConsumerScheduler } from '../offline/consumer-scheduler.ts';
import type { Presence } from '../offline/presence.ts';
import { Connection, type ConnectionOptions, type Socket } from './connection.ts';

/** The parts of one open connection. */
export interface ConnectedDevice {
  connection: Connection;
  inbox: DeviceInbox;
  client: CommandClient;
}
/** By device id. */
export type ConnectedDevices = Map<string, ConnectedDevice>;

interface ConnectionsOptions {
  config: Config;
  log: Logger;
  metrics: Metrics;
  connected: ConnectedDevices;
  connectionOptions: ConnectionOptions;
  inboxOptions: InboxOptions;
  cursors: CursorWriter;
  subscriptions: LiveSubscriptions;
  signals: DeviceSignals;
  scheduler: ConsumerScheduler;
  presence: Presence;
}
/** When the edge goes down, its clients reconnect elsewhere over so long: 2 ms for each, within bounds. */
const DRAIN_MS = { perConnection: 2, min: 50, max: 3_000 };
const CLOSE_MS = 1_000;
const CHECK_MS = 5;

export class Connections {
  readonly #options: ConnectionsOptions;
  #isDraining = false;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  /** The edge goes down and takes no connections any more. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  /**
   * Opens the connection of a device and closes its older one, here and on other edges.
   * @param acknowledged how far the device has got, as Postgres said; undefined for one that has no cursor there
   */
  open(socket: Socket, identity: Identity, acknowledged: DeviceCursor | undefined): ConnectedDevice {
    const { config, metrics, connected, cursors, subscriptions, signals, presence } = this.#options;
    const connection = new Connection(this.#options.connectionOptions, socket, uuid7(), identity);
    const inbox = new DeviceInbox(this.#options.inboxOptions, connection);
    const device = { connection, inbox, client: new CommandClient(connection, inbox, config) };
    const { device_id, user_id, connection_id } = connection;
    metrics.sockets.inc();
    try {
      connected.get(device_id)?.connection.close(CLOSE.replaced, 'a newer connection of this device');
      connected.set(device_id, device);
      presence.setOnline(device_id);
      subscriptions.add(inbox);
      signals.publish(user_id, { t: 'replaced', device_id, connection_id });
      inbox.start(laterOf(cursors.get(device_id), acknowledged));
    } catch (error) {
      // The caller has no device to close yet: without this it would count as online until the edge ends.
      this.onSocketClosed(device, CLOSE.try_again);
      throw error;
    }
    return device;
  }

  /** Cleans up after a connection whose socket was closed with `code`. */
  onSocketClosed({ connection, inbox, client }: ConnectedDevice, code: number): void {
    const { metrics, connected, subscriptions, scheduler, presence, log } = this.#options;
    const { connection_id, user_id, device_id, openedAt, sent } = connection;
    connection.onSocketClosed();
    subscriptions.remove(inbox);
    metrics.sockets.dec();
    metrics.closed.inc({ code: String(code) });
    const { ackedCursor, unacknowledged } = inbox.progress;
    // A connection that was replaced leaves the device online.
    if (connected.get(device_id)?.connection === connection) {
      connected.delete(device_id);
      if (!this.#isDraining) {
        scheduler.scheduleCreation(connection, ackedCursor);
        presence.setOffline(device_id);
      }
    }
    const ms = Date.now() - openedAt;
    const counts = { received: client.received, sent, unacked: unacknowledged };
    log.info({ unit: 'connection', connection: connection_id, user_id, device_id, code, ms, ...counts });
  }

  /**
   * Tells all clients to connect elsewhere, waits for them and for their commands, and closes those that stay.
   * @param commandsInFlight how many commands ingest has not answered
   */
  async drain(commandsInFlight: () => number): Promise<void> {
    this.#isDraining = true;
    const { connected, presence } = this.#options;
    const devices = [...connected.keys()];
    const { perConnection, min, max } = DRAIN_MS;
    const drainMs = Math.min(max, Math.max(min, connected.size * perConnection));
    for (const { connection } of connected.values())
      connection.send(`{"type":"connection.draining","reconnect_in_ms":${Math.floor(Math.random() * drainMs)}}`);
    await waitUntil(() => connected.size === 0, drainMs);
    await waitUntil(() => commandsInFlight() === 0, CLOSE_MS);
    for (const { connection } of connected.values()) connection.close(CLOSE.restarting, 'restarting');
    await waitUntil(() => connected.size === 0, CLOSE_MS);
    for (const device_id of devices) presence.setOffline(device_id);
  }
}

/** The higher of what this edge knows and what the database said. */
function laterOf(a: DeviceCursor | undefined, b: DeviceCursor | undefined): DeviceCursor | undefined {
  if (!a || !b) return a ?? b;
  return {
    cursor: Math.max(a.cursor, b.cursor),
    completeUntilMs: Math.max(a.completeUntilMs, b.completeUntilMs),
  };
}

/** Resolves when `condition` holds, at the latest after `timeoutMs`. */
async function waitUntil(condition: () => boolean, timeoutMs: number): Promise<void> {
  for (const end = Date.now() + timeoutMs; !condition() && Date.now() < end; ) await sleep(CHECK_MS);
}
