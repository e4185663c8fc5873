/** What the sender of a message hears of it: that it is queued, then that it was sent. */
import type { CommandObserver } from '../../../nats/gateway.ts';
import type { ApiError } from '../../../shared/contract/errors.ts';
import type { Answer } from '../../../shared/pipeline/commands.ts';
import type { Connection } from '../connections/connection.ts';

/** One message on its way. */
export class Sending implements CommandObserver {
  readonly #session: Connection;
  readonly #statuses: Statuses;
  readonly #id: string;
  readonly #clientId: string;
  readonly failed: (error: ApiError) => void;
  #answer: Answer | undefined;

  constructor(
    session: Connection,
    statuses: Statuses,
    id: string,
    clientId: string,
    failed: (error: ApiError) => void,
  ) {
    this.#session = session;
    this.#statuses = statuses;
    this.#id = id;
    this.#clientId = clientId;
    this.failed = failed;
  }

  answered(answer: Answer): void {
    this.#answer = answer;
    this.#session.say(
      `{"type":"ack",${this.#id}"message_id":"${answer.message_id}","conversation_id":"${answer.conversation_id}","seq":${answer.seq},"status":"queued"}`,
    );
  }

  sent(): void {
    if (this.#answer) this.#statuses.sent(this.#session, this.#answer, this.#clientId);
  }
}

/** `sent` is cumulative: of a turn, each socket hears the highest seq of each conversation. */
export class Statuses {
  #sent = new Map<Connection, Map<string, { answer: Answer; clientId: string }>>();

  sent(session: Connection, answer: Answer, clientId: string): void {
    if (this.#sent.size === 0) setImmediate(() => this.#flush());
    let of = this.#sent.get(session);
    if (!of) {
      of = new Map();
      this.#sent.set(session, of);
    }
    const known = of.get(answer.conversation_id);
    if (!known || known.answer.seq < answer.seq) of.set(answer.conversation_id, { answer, clientId });
  }

  #flush(): void {
    const sent = this.#sent;
    this.#sent = new Map();
    for (const [session, of] of sent) {
      for (const { answer, clientId } of of.values()) {
        session.say(
          `{"type":"message.status","status":"sent","message_id":"${answer.message_id}","client_message_id":${JSON.stringify(clientId)},"conversation_id":"${answer.conversation_id}","seq":${answer.seq}}`,
        );
      }
    }
  }
}
