/** Handles `message.send`: finds the conversation, checks the signature and submits the message to ingest. */
import type { Gateway } from '../../../nats/gateway.ts';
import { checkSignature } from '../../../shared/auth/signatures.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { MessageSend } from '../../../shared/contract/frames/client.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { Explicit, SendCommand, SentExtras } from '../../../shared/pipeline/commands.ts';
import { sealed } from '../../../shared/pipeline/sealed.ts';
import { type CommandClient, echoId } from './command-client.ts';
import { PendingSend, SentStatuses } from './pending-send.ts';
import { Recipients } from './recipients.ts';

/** Answers a command that failed. */
type RefuseSend = (client: CommandClient, frame: MessageSend, error: unknown) => void;

export class MessageSender {
  readonly #db: Database;
  readonly #gateway: Gateway;
  readonly #maxBytes: number;
  readonly #refuse: RefuseSend;
  readonly #recipients: Recipients;
  readonly #statuses = new SentStatuses();

  constructor({ db, gateway, config }: { db: Database; gateway: Gateway; config: Config }, refuse: RefuseSend) {
    this.#db = db;
    this.#gateway = gateway;
    this.#maxBytes = config.MESSAGE_MAX_BYTES;
    this.#refuse = refuse;
    this.#recipients = new Recipients(db, config);
  }

  /**
   * @returns a promise only where something has to be looked up or checked; it rejects with what was wrong
   * @throws {ApiError} what is wrong with the frame
   */
  send(client: CommandClient, frame: MessageSend): undefined | Promise<void> {
    const { conversation_id, to } = frame;
    if ((conversation_id === undefined) === (to === undefined))
      throw new ApiError('invalid_request', 'message.send: give exactly one of conversation_id and to', {
        details: { field: 'to' },
      });
    const body = sealed(frame, this.#maxBytes);
    if (frame.signature !== undefined || client.isBusy)
      return client.runInOrder(() => this.#sendChecked(client, frame, body));
    if (conversation_id !== undefined) return this.#submit(client, frame, body, conversation_id, undefined);
    const recipient = this.#recipients.resolve(to!, client.output.user_id);
    if (typeof recipient !== 'string') return recipient.then((id) => this.#sendToUser(client, frame, body, id));
    return this.#sendToUser(client, frame, body, recipient);
  }

  /** Sends a signed message, or one that came behind it and waits for its check, so that the order stays. */
  async #sendChecked(client: CommandClient, frame: MessageSend, body: Buffer): Promise<void> {
    const { to, signature } = frame;
    const { user_id, device_id } = client.output;
    const recipient = to && (await this.#recipients.resolve(to, user_id));
    const conversation_id = frame.conversation_id ?? this.#recipients.directConversation(user_id, recipient!);
    if (signature !== undefined) await checkSignature(this.#db, device_id, { ...frame, conversation_id, signature });
    this.#submit(client, frame, body, conversation_id, recipient);
  }

  #sendToUser(client: CommandClient, frame: MessageSend, body: Buffer, recipient: string): undefined {
    const conversation_id = this.#recipients.directConversation(client.output.user_id, recipient);
    return this.#submit(client, frame, body, conversation_id, recipient);
  }

  #submit(
    client: CommandClient,
    frame: MessageSend,
    body: Buffer,
    conversation_id: string,
    to: string | undefined,
  ): undefined {
    const { id, client_message_id, envelopes, attachments, reply_to, expires_in_sec, signature } = frame;
    const { output } = client;
    this.#gateway.submit(
      {
        kind: 'send',
        conversation_id,
        to,
        user_id: output.user_id,
        device_id: output.device_id,
        client_message_id,
        envelopes: envelopes?.map(({ device_id, registration_id }) => ({ device_id, registration_id })),
        attachments,
        reply_to,
        expires_in_sec,
        signature,
      } satisfies SendCommand & Explicit<SentExtras>,
      body,
      new PendingSend(output, this.#statuses, echoId(id), client_message_id, (error) =>
        this.#refuse(client, frame, error),
      ),
    );
    return undefined;
  }
}
