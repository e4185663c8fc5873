/** Tells the sender of a message what becomes of it: an `ack` when it is durable, then `sent` when it is in all inboxes. */
import type { CommandObserver } from '../../../nats/gateway.ts';
import type { ApiError } from '../../../shared/contract/errors.ts';
import type { Answer } from '../../../shared/pipeline/commands.ts';
import type { CommandOutput } from './command-client.ts';

/** One message that the gateway has taken. */
export class PendingSend implements CommandObserver {
  readonly #output: CommandOutput;
  readonly #statuses: SentStatuses;
  readonly #echoedId: string;
  readonly #clientMessageId: string;
  readonly failed: (error: ApiError) => void;
  #answer: Answer | undefined;

  constructor(
    output: CommandOutput,
    statuses: SentStatuses,
    echoedId: string,
    clientMessageId: string,
    failed: (error: ApiError) => void,
  ) {
    this.#output = output;
    this.#statuses = statuses;
    this.#echoedId = echoedId;
    this.#clientMessageId = clientMessageId;
    this.failed = failed;
  }

  answered(answer: Answer): void {
    this.#answer = answer;
    this.#output.send(
      `{"type":"ack",${this.#echoedId}"message_id":"${answer.message_id}","conversation_id":"${answer.conversation_id}","seq":${answer.seq},"status":"queued"}`,
    );
  }

  sent(): void {
    if (this.#answer) this.#statuses.add(this.#output, this.#answer, this.#clientMessageId);
  }
}

/** Sends `sent`, which is cumulative: each connection gets the highest seq of each conversation of an event-loop turn. */
export class SentStatuses {
  #statuses = new Map<CommandOutput, Map<string, { answer: Answer; clientMessageId: string }>>();

  add(output: CommandOutput, answer: Answer, clientMessageId: string): void {
    if (this.#statuses.size === 0) setImmediate(() => this.#flush());
    let byConversation = this.#statuses.get(output);
    if (!byConversation) {
      byConversation = new Map();
      this.#statuses.set(output, byConversation);
    }
    const known = byConversation.get(answer.conversation_id);
    if (!known || known.answer.seq < answer.seq)
      byConversation.set(answer.conversation_id, { answer, clientMessageId });
  }

  #flush(): void {
    const statuses = this.#statuses;
    this.#statuses = new Map();
    for (const [output, byConversation] of statuses) {
      for (const { answer, clientMessageId } of byConversation.values()) {
        output.send(
          `{"type":"message.status","status":"sent","message_id":"${answer.message_id}","client_message_id":${JSON.stringify(clientMessageId)},"conversation_id":"${answer.conversation_id}","seq":${answer.seq}}`,
        );
      }
    }
  }
}
