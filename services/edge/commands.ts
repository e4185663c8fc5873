/**
 * What clients ask for. Every frame is parsed once and checked against its schema; what is wrong is answered with a
 * typed `error` that echoes `id`, and the socket lives on unless it goes on and on.
 */
import type { Waiter } from '../../nats/gateway.ts';
import { checkSignature } from '../../shared/auth/signatures.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import {
  CLIENT_FRAMES,
  CLOSE,
  type ClientFrame,
  type HistoryGet,
  type InboxAck,
  type MessageSend,
  type Ping,
  type ReceiptRead,
} from '../../shared/contract/frames.ts';
import { pageBySeq } from '../../shared/db/history.ts';
import type { Answer } from '../../shared/pipeline/commands.ts';
import { sealed } from '../../shared/pipeline/sealed.ts';
import type { Edge } from './edge.ts';
import { Recipients } from './recipients.ts';
import type { Session } from './session.ts';
import { SERVER_VERSION } from './welcome.ts';

/** Frames that are no frames, after which a socket is closed with 4400. */
const STRIKES = 3;
/** That many times the limit of commands in a window, and it is closed with 4429. */
const PATIENCE = 3;
const FREE = new Set(['inbox.ack', 'ping']);

type Handler<F> = (session: Session, frame: F) => undefined | Promise<void>;
type Handlers = { [F in ClientFrame as F['type']]: Handler<F> };
/** Of any frame, before it is known to be good. */
interface Raw {
  type: string;
  id?: unknown;
  client_message_id?: unknown;
}

const echo = (id: unknown): string => (typeof id === 'string' && id.length <= 64 ? `"id":${JSON.stringify(id)},` : '');

export class Commands {
  readonly #edge: Edge;
  readonly #recipients: Recipients;
  readonly #statuses: Statuses = new Statuses();
  readonly #handlers: Map<string, Handler<never>>;

  constructor(edge: Edge) {
    this.#edge = edge;
    this.#recipients = new Recipients(edge.db, edge.config);
    const handlers: Handlers = {
      'message.send': (session, frame) => this.#send(session, frame),
      'inbox.ack': (session, { cursor }: InboxAck) => void session.inbox.ack(cursor),
      'receipt.read': (session, frame) => this.#read(session, frame),
      'history.get': (session, frame) => this.#history(session, frame),
      ping: (session, { id }: Ping) =>
        void session.say(
          `{"type":"pong",${echo(id)}"server_version":"${SERVER_VERSION}","server_time":"${new Date().toISOString()}"}`,
        ),
    };
    this.#handlers = new Map(Object.entries(handlers) as [string, Handler<never>][]);
  }

  /** One text frame. Never throws. */
  take(session: Session, text: string): void {
    session.taken++;
    this.#edge.tally.in++;
    let frame: Raw;
    try {
      frame = JSON.parse(text) as Raw;
    } catch {
      this.strike(session, 'a frame is a JSON object');
      return;
    }
    if (typeof frame !== 'object' || frame === null || Array.isArray(frame) || typeof frame.type !== 'string') {
      this.strike(session, 'a frame is an object with a type');
      return;
    }
    try {
      if (!FREE.has(frame.type)) this.#count(session);
      const check = CLIENT_FRAMES.get(frame.type);
      if (!check) throw new ApiError('invalid_request', 'there is no command of this type');
      const checked = check(frame);
      const handle = this.#handlers.get(frame.type) as Handler<ClientFrame>;
      handle(session, checked)?.catch((error: unknown) => this.#refuse(session, frame, error));
    } catch (error) {
      this.#refuse(session, frame, error);
    }
  }

  /** Something that is no frame at all. */
  strike(session: Session, reason: string): void {
    this.#refuse(session, { type: '' }, new ApiError('invalid_request', reason));
    if (++session.strikes >= STRIKES) session.end(CLOSE.protocol_error, reason);
  }

  #count(session: Session): void {
    const { WS_RATE_LIMIT_MAX_COMMANDS: limit, WS_RATE_LIMIT_WINDOW_SEC } = this.#edge.config;
    const now = Date.now();
    if (now >= session.windowEnd) {
      session.windowEnd = now + WS_RATE_LIMIT_WINDOW_SEC * 1_000;
      session.commands = 0;
    }
    if (++session.commands <= limit) return;
    if (session.commands > PATIENCE * limit) session.end(CLOSE.too_many_commands, 'too many commands');
    throw new ApiError('rate_limited', `${limit} commands in ${WS_RATE_LIMIT_WINDOW_SEC} s are allowed`, {
      retry_after_ms: session.windowEnd - now,
    });
  }

  #send(session: Session, frame: MessageSend): undefined | Promise<void> {
    const { conversation_id, to } = frame;
    if ((conversation_id === undefined) === (to === undefined))
      throw new ApiError('invalid_request', 'message.send: give exactly one of conversation_id and to', {
        details: { field: 'to' },
      });
    const body = sealed(frame, this.#edge.config.MESSAGE_MAX_BYTES);
    if (frame.signature !== undefined || session.busy)
      return session.inTurn(() => this.#sendChecked(session, frame, body));
    if (conversation_id !== undefined) return this.#submit(session, frame, body, conversation_id, undefined);
    const person = this.#recipients.person(to!, session.user_id);
    if (typeof person !== 'string') return person.then((id) => this.#toPerson(session, frame, body, id));
    return this.#toPerson(session, frame, body, person);
  }

  /** What comes after a signed message waits for its check, so that the order stays. */
  async #sendChecked(session: Session, frame: MessageSend, body: Buffer): Promise<void> {
    const { to, signature } = frame;
    const person = to && (await this.#recipients.person(to, session.user_id));
    const conversation_id = frame.conversation_id ?? this.#recipients.direct(session.user_id, person!);
    if (signature !== undefined)
      await checkSignature(this.#edge.db, session.device_id, { ...frame, conversation_id, signature });
    this.#submit(session, frame, body, conversation_id, person);
  }

  #toPerson(session: Session, frame: MessageSend, body: Buffer, person: string): undefined {
    return this.#submit(session, frame, body, this.#recipients.direct(session.user_id, person), person);
  }

  #submit(
    session: Session,
    frame: MessageSend,
    body: Buffer,
    conversation_id: string,
    to: string | undefined,
  ): undefined {
    const { id, client_message_id, envelopes, attachments, reply_to, expires_in_sec, signature } = frame;
    this.#edge.gateway.submit(
      {
        kind: 'send',
        conversation_id,
        to,
        user_id: session.user_id,
        device_id: session.device_id,
        client_message_id,
        envelopes: envelopes?.map(({ device_id, registration_id }) => ({ device_id, registration_id })),
        attachments,
        reply_to,
        expires_in_sec,
        signature,
      },
      body,
      new Sending(session, this.#statuses, echo(id), client_message_id, (error) => this.#refuse(session, frame, error)),
    );
    return undefined;
  }

  async #read(session: Session, { id, conversation_id, seq }: ReceiptRead): Promise<void> {
    const { user_id, device_id } = session;
    await this.#edge.gateway.call({ kind: 'read', conversation_id, user_id, device_id, seq });
    session.say(`{"type":"ack",${echo(id)}"conversation_id":"${conversation_id}","seq":${seq}}`);
  }

  async #history(session: Session, { type: _, id, ...range }: HistoryGet): Promise<void> {
    const { user_id, device_id } = session;
    const { messages, more } = await pageBySeq(this.#edge.db, { user_id, device_id, ...range });
    session.say(`{"type":"history",${echo(id)}"messages":${JSON.stringify(messages)},"more":${more}}`);
  }

  #refuse(session: Session, { type, id, client_message_id: given }: Raw, error: unknown): void {
    let told = error instanceof ApiError ? error : undefined;
    if (!told) {
      this.#edge.log.error({ unit: 'command', type, connection: session.connection_id, err: error });
      told = new ApiError('internal', 'that went wrong on our side');
    }
    const sent = type === 'message.send' && typeof given === 'string' && given.length <= 64;
    const about = sent ? `"client_message_id":${JSON.stringify(given)},` : '';
    session.say(`{"type":"error",${echo(id)}${about}${JSON.stringify(told).slice(1)}`);
    if (sent) session.say(`{"type":"message.status","status":"rejected",${about}"reason":"${told.code}"}`);
  }
}

/** One message on its way. */
class Sending implements Waiter {
  readonly #session: Session;
  readonly #statuses: Statuses;
  readonly #id: string;
  readonly #clientId: string;
  readonly failed: (error: ApiError) => void;
  #answer: Answer | undefined;

  constructor(session: Session, statuses: Statuses, id: string, clientId: string, failed: (error: ApiError) => void) {
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
class Statuses {
  #sent = new Map<Session, Map<string, { answer: Answer; clientId: string }>>();

  sent(session: Session, answer: Answer, clientId: string): void {
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
