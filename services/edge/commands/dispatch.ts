/**
 * What clients ask for. Every frame is parsed once and checked against its schema; what is wrong is answered with a
 * typed `error` that echoes `id`, and the socket lives on unless it goes on and on.
 */
import { checkSignature } from '../../../shared/auth/signatures.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import {
  CLIENT_FRAMES,
  type ClientFrame,
  type HistoryGet,
  type InboxAck,
  type MessageSend,
  type Ping,
  type ReceiptRead,
} from '../../../shared/contract/frames/client.ts';
import { CLOSE } from '../../../shared/contract/protocol.ts';
import { sealed } from '../../../shared/pipeline/sealed.ts';
import type { Connection } from '../connections/connection.ts';
import { SERVER_VERSION } from '../delivery/welcome.ts';
import type { Edge } from '../edge.ts';
import { Pages } from './history-pages.ts';
import { Recipients } from './recipients.ts';
import { Sending, Statuses } from './send-message.ts';

/** Frames that are no frames, after which a socket is closed with 4400. */
const STRIKES = 3;
const FREE = new Set(['inbox.ack', 'ping']);
/** A frame that says in its beginning to be a free one. */
const FREE_FRAME = /^\s{0,16}\{\s{0,16}"type"\s{0,16}:\s{0,16}"(inbox\.ack|ping)"/;

type Handler<F> = (session: Connection, frame: F) => undefined | Promise<void>;
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
  readonly #pages: Pages;
  readonly #statuses: Statuses = new Statuses();
  readonly #handlers: Map<string, Handler<never>>;

  constructor(edge: Edge) {
    this.#edge = edge;
    this.#recipients = new Recipients(edge.db, edge.config);
    this.#pages = new Pages(edge.historyDb, edge.config);
    const handlers: Handlers = {
      'message.send': (session, frame) => this.#send(session, frame),
      'inbox.ack': (session, { cursor }: InboxAck) => void (session.inbox.ack(cursor) || this.#idle(session)),
      'receipt.read': (session, frame) => this.#read(session, frame),
      'history.get': (session, frame) => this.#history(session, frame),
      ping: (session, { id }: Ping) => {
        this.#idle(session);
        session.say(
          `{"type":"pong",${echo(id)}"server_version":"${SERVER_VERSION}","server_time":"${new Date().toISOString()}"}`,
        );
        return undefined;
      },
    };
    this.#handlers = new Map(Object.entries(handlers) as [string, Handler<never>][]);
  }

  /** One text frame. Never throws. */
  take(session: Connection, text: string): void {
    session.taken++;
    this.#edge.tally.in++;
    const large = text.length > this.#edge.config.WS_MAX_FREE_BYTES;
    const free = large ? FREE_FRAME.exec(text.slice(0, 128))?.[1] : undefined;
    if (free) {
      // Not worth parsing, which costs more than everything else that a free frame may cost.
      this.#reject(session, { type: free }, text, this.#tooLarge(free));
      return;
    }
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
      else if (large) throw this.#tooLarge(frame.type);
      const check = CLIENT_FRAMES.get(frame.type);
      if (!check) throw new ApiError('invalid_request', 'there is no command of this type');
      const checked = check(frame);
      const handle = this.#handlers.get(frame.type) as Handler<ClientFrame>;
      handle(session, checked)?.catch((error: unknown) => this.#refuse(session, frame, error));
    } catch (error) {
      this.#reject(session, frame, text, error);
    }
  }

  /** Something that is no frame at all. */
  strike(session: Connection, reason: string): void {
    this.#refuse(session, { type: '' }, new ApiError('invalid_request', reason));
    if (++session.strikes >= STRIKES) session.end(CLOSE.protocol_error, reason);
  }

  #count(session: Connection): void {
    const spent = this.#edge.limits.countCommand(session.user_id);
    if (spent === 'within') return;
    if (spent === 'far over') session.end(CLOSE.too_many_commands, 'too many commands');
    throw this.#edge.limits.limitError();
  }

  /** A free frame that changes nothing; beyond any use of them they are commands. */
  #idle(session: Connection): void {
    if (session.idle() > this.#edge.config.WS_RATE_LIMIT_MAX_IDLE) this.#count(session);
  }

  #tooLarge(type: string): ApiError {
    return new ApiError('too_large', `${type}: at most ${this.#edge.config.WS_MAX_FREE_BYTES} bytes`);
  }

  /** Refuses a frame that failed its check. Such frames are never free, and their bytes are counted too. */
  #reject(session: Connection, frame: Raw, text: string, error: unknown): void {
    this.#refuse(session, frame, error);
    if (FREE.has(frame.type) && this.#edge.limits.countCommand(session.user_id) === 'far over')
      session.end(CLOSE.too_many_commands, 'too many commands');
    if (session.refused(Buffer.byteLength(text)) <= this.#edge.config.WS_MAX_REFUSED_BYTES) return;
    const limited = error instanceof ApiError && error.code === 'rate_limited';
    session.end(limited ? CLOSE.too_many_commands : CLOSE.protocol_error, 'too many bytes that had to be refused');
  }

  #send(session: Connection, frame: MessageSend): undefined | Promise<void> {
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
  async #sendChecked(session: Connection, frame: MessageSend, body: Buffer): Promise<void> {
    const { to, signature } = frame;
    const person = to && (await this.#recipients.person(to, session.user_id));
    const conversation_id = frame.conversation_id ?? this.#recipients.direct(session.user_id, person!);
    if (signature !== undefined)
      await checkSignature(this.#edge.db, session.device_id, { ...frame, conversation_id, signature });
    this.#submit(session, frame, body, conversation_id, person);
  }

  #toPerson(session: Connection, frame: MessageSend, body: Buffer, person: string): undefined {
    return this.#submit(session, frame, body, this.#recipients.direct(session.user_id, person), person);
  }

  #submit(
    session: Connection,
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

  async #read(session: Connection, { id, conversation_id, seq }: ReceiptRead): Promise<void> {
    const { user_id, device_id } = session;
    await this.#edge.gateway.call({ kind: 'read', conversation_id, user_id, device_id, seq });
    session.say(`{"type":"ack",${echo(id)}"conversation_id":"${conversation_id}","seq":${seq}}`);
  }

  #history(session: Connection, frame: HistoryGet): Promise<void> {
    return this.#pages.get(session, frame, ({ messages, more }) =>
      session.say(`{"type":"history",${echo(frame.id)}"messages":${JSON.stringify(messages)},"more":${more}}`),
    );
  }

  #refuse(session: Connection, { type, id, client_message_id: given }: Raw, error: unknown): void {
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
