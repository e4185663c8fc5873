/** Follows whether the edge is connected to NATS, and brings the inboxes through a reconnection. */
import type { NatsConnection } from 'nats';
import { watchConnection } from '../../../nats/connect.ts';

interface ConnectedInbox {
  restart(): void;
  progress: { updateCompleteUntil(): void };
}

interface BrokerStatus {
  readonly isConnected: boolean;
}

/** @param inboxes returns the inboxes of the connected devices */
export function watchBroker(nc: NatsConnection, inboxes: () => Iterable<ConnectedInbox>): BrokerStatus {
  const status = { isConnected: true };
  watchConnection(nc, {
    onDisconnect() {
      // Before the flag changes: up to now the inboxes received everything that was published.
      for (const { progress } of inboxes()) progress.updateCompleteUntil();
      status.isConnected = false;
    },
    onReconnect() {
      // Items published meanwhile did not reach the inboxes.
      for (const inbox of inboxes()) inbox.restart();
      status.isConnected = true;
    },
  });
  return status;
}
