/** Turns each durable item of the inbox into an event of the Device, and skips messages that were handled before. */
import type { Message } from '../shared/contract/objects.ts';
import { SealwireError } from './errors.ts';
import type { DeviceEvents } from './events.ts';
import type { HandledMessages } from './handled-messages.ts';
import type { Item } from './inbox.ts';
import type { MessageSealer } from './message-sealer.ts';
import { resyncConversations } from './resync.ts';
import type { Session } from './session.ts';

interface Options {
  session: Session;
  handledMessages: HandledMessages;
  sealer: MessageSealer | undefined;
  /** True once the application has closed the device and expects no further events. */
  isClosing(): boolean;
  emit<K extends keyof DeviceEvents>(name: K, value: DeviceEvents[K]): undefined | Promise<unknown>;
}

/** @returns a function that handles one item; the item counts as handled once it has returned or resolved */
export function createItemHandler({
  session,
  handledMessages,
  sealer,
  isClosing,
  emit,
}: Options): (item: Item) => undefined | Promise<unknown> {
  const handleMessage = (message: Message, resync: boolean): undefined | Promise<unknown> => {
    const { conversation_id, seq } = message;
    if (!handledMessages.isNew(conversation_id, seq)) return undefined;
    let handled: undefined | Promise<unknown>;
    // A message that this device has sent itself comes back only from history. The application already knows it.
    if (message.sender_device_id !== session.device.id) {
      handled = sealer
        ? sealer.tryOpen(message).then((opened) => emit('message', { message, resync, ...opened }))
        : emit('message', { message, resync });
    }
    if (handled === undefined) {
      handledMessages.add(conversation_id, seq);
      return undefined;
    }
    return handled.then(() => handledMessages.add(conversation_id, seq));
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
        sealer?.forgetMembers();
        emit('gap', item);
        return resyncConversations(session, handledMessages, (message) => {
          if (isClosing()) throw new SealwireError('closed', 'the device was closed');
          return handleMessage(message, true);
        });
      case 'member.changed':
        handledMessages.add(item.conversation_id, item.seq);
        sealer?.forgetMembers(item.conversation_id);
        return emit('member.changed', item);
      case 'device.changed':
        sealer?.forgetDevices(item.user_id);
        return emit('device.changed', item);
      case 'keys.low':
        // The item counts as handled even if this fails, because keys are also added at the next connection.
        void sealer?.replenishPrekeys();
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
