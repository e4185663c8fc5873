/**
 * Makes the edge forget devices when they are deleted. The event may be lost: then a device may get a durable that the broker
 * deletes after AWAY_CONSUMER_IDLE_DAYS.
 */
import type { NatsConnection } from 'nats';
import type { DeviceAddress } from '../../../nats/inbox/backlog.ts';
import { lastToken, subject } from '../../../nats/topology.ts';
import { decodePersonEvent } from '../../../shared/pipeline/person-event.ts';

export function watchDeletedDevices(nc: NatsConnection, onDeleted: (device: DeviceAddress) => void): void {
  nc.subscribe(subject.people('*'), {
    callback: (error, message) => {
      if (error || message.data.length === 0) return;
      const user_id = lastToken(message.subject);
      for (const device_id of decodePersonEvent(message.string()).removed ?? []) onDeleted({ user_id, device_id });
    },
  });
}
