/** What each durable item means to the application; it counts as handled when the promise, if there is one, resolves. */
import type { Message } from '../shared/contract/objects.ts';
import { SealwireError } from './errors.ts';
import type { DeviceEvents } from './events.ts';
import type { Item } from './inbox.ts';
import { resync } from './resync.ts';
import type { Sealing } from './sealing.ts';
import type { Seen } from './seen.ts';
import type { Session } from './session.ts';

interface Options {
  session: Session;
  seen: Seen;
  sealing: Sealing | undefined;
  /** True once nobody wants to hear any more. */
  leaving(): boolean;
  emit<K extends keyof DeviceEvents>(name: K, value: DeviceEvents[K]): undefined | Promise<unknown>;
}

export function itemHandler({
  session,
  seen,
  sealing,
  leaving,
  emit,
}: Options): (item: Item) => undefined | Promise<unknown> {
  const handleMessage = (message: Message, resync: boolean): undefined | Promise<unknown> => {
    const { conversation_id, seq } = message;
    if (!seen.isNew(conversation_id, seq)) return undefined;
    let handled: undefined | Promise<unknown>;
    // What this device sent itself comes back only from history.
    if (message.sender_device_id !== session.device.id) {
      handled = sealing
        ? sealing.incoming(message).then((opened) => emit('message', { message, resync, ...opened }))
        : emit('message', { message, resync });
    }
    if (handled === undefined) {
      seen.add(conversation_id, seq);
      return undefined;
    }
    return handled.then(() => seen.add(conversation_id, seq));
  };

  return (item) => {
    switch (item.type) {
      case 'message.created':
        return handleMessage(item.message, false);
      case 'message.status':
        return emit('status', item);
      case 'inbox.empty':
        return emit('empty', item);
      case 'inbox.gap':
        sealing?.forget();
        emit('gap', item);
        return resync(session, seen, (message) => {
          if (leaving()) throw new SealwireError('closed', 'the device was closed');
          return handleMessage(message, true);
        });
      case 'member.changed':
        seen.add(item.conversation_id, item.seq);
        sealing?.forget(item.conversation_id);
        return emit('member.changed', item);
      case 'device.changed':
        sealing?.changed(item.user_id);
        return emit('device.changed', item);
      case 'keys.low':
        // Handled either way: keys are added at the next connection too.
        void sealing?.stock();
        return emit('keys.low', item);
      case 'receipt.read':
        return emit('receipt.read', item);
      case 'conversation.updated':
        return emit('conversation.updated', item);
      case 'payment.updated':
        return emit('payment', item);
      default:
        return emit('item', item);
    }
  };
}
