/**
 * Takes the commands of clients and calls their handlers. Each frame is parsed once and checked against its schema. A wrong one
 * is answered with a typed `error` that repeats `id`; the connection stays open unless there are too many of them.
 */
import type { Logger } from 'pino';
import type { CommandLimits } from '../../../nats/command-limits.ts';
import type { Gateway } from '../../../nats/gateway.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import {
  CLIENT_FRAMES,
  type ClientFrame,
  type HistoryGet,
  type InboxAck,
  type Ping,
  type ReceiptRead,
} from '../../../shared/contract/frames/client.ts';
import { CLOSE } from '../../../shared/contract/protocol.ts';
import type { Database } from '../../../shared/db/database.ts';
import { SERVER_VERSION } from '../../../shared/version.ts';
import { type CommandClient, echoId } from './command-client.ts';
import { HistoryPages } from './history-pages.ts';
import { MessageSender } from './message-sender.ts';

/** A connection is closed with 4400 at its third malformed frame. */
const MAX_MALFORMED = 3;
/** Commands that do not count for the rate limit. */
const FREE = new Set(['inbox.ack', 'ping']);
/** Recognises a free command by the beginning of its frame. */
const FREE_FRAME = /^\s{0,16}\{\s{0,16}"type"\s{0,16}:\s{0,16}"(inbox\.ack|ping)"/;

type Handler<F> = (client: CommandClient, frame: F) => undefined | Promise<void>;
type Handlers = { [F in ClientFrame as F['type']]: Handler<F> };
/** Any frame, before its schema was checked. */
interface UncheckedFrame {
  type: string;
  id?: unknown;
  client_message_id?: unknown;
}
interface DispatcherOptions {
  config: Config;
  log: Logger;
  db: Database;
  /** Connections of their own for pages of history, so that nothing else waits behind them. */
  historyDb: Database;
  gateway: Gateway;
  limits: CommandLimits;
  /** Since housekeeping last added them to the metrics. */
  counts: { in: number };
}

export class CommandDispatcher {
  readonly #options: DispatcherOptions;
  readonly #pages: HistoryPages;
  readonly #handlers: Map<string, Handler<never>>;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#pages = new HistoryPages(options.historyDb, options.config);
    const sender = new MessageSender(options, (client, frame, error) => this.#sendError(client, frame, error));
    const handlers: Handlers = {
      'message.send': (client, frame) => sender.send(client, frame),
      'inbox.ack': (client, { cursor }: InboxAck) => void (client.inbox.acknowledge(cursor) || this.#countIdle(client)),
      'receipt.read': (client, frame) => this.#markRead(client, frame),
      'history.get': (client, frame) => this.#sendHistory(client, frame),
      ping: (client, { id }: Ping) => {
        this.#countIdle(client);
        client.output.send(
          `{"type":"pong",${echoId(id)}"server_version":"${SERVER_VERSION}","server_time":"${new Date().toISOString()}"}`,
        );
        return undefined;
      },
    };
    this.#handlers = new Map(Object.entries(handlers) as [string, Handler<never>][]);
  }

  /** Handles one text frame. Never throws. */
  dispatch(client: CommandClient, text: string): void {
    client.received++;
    this.#options.counts.in++;
    const isLarge = text.length > this.#options.config.WS_MAX_FREE_BYTES;
    const freeType = isLarge ? FREE_FRAME.exec(text.slice(0, 128))?.[1] : undefined;
    if (freeType) {
      // Not parsed: parsing would cost more than everything else that a free frame may cost.
      this.#reject(client, { type: freeType }, text, this.#tooLarge(freeType));
      return;
    }
    let frame: UncheckedFrame;
    try {
      frame = JSON.parse(text) as UncheckedFrame;
    } catch {
      this.rejectMalformed(client, 'a frame must be a JSON object');
      return;
    }
    if (typeof frame !== 'object' || frame === null || Array.isArray(frame) || typeof frame.type !== 'string') {
      this.rejectMalformed(client, 'a frame must be a JSON object with a type');
      return;
    }
    try {
      if (!FREE.has(frame.type)) this.#countCommand(client);
      else if (isLarge) throw this.#tooLarge(frame.type);
      const check = CLIENT_FRAMES.get(frame.type);
      if (!check) throw new ApiError('invalid_request', 'type is not a command; see docs/api.md');
      const checked = check(frame);
      const handle = this.#handlers.get(frame.type) as Handler<ClientFrame>;
      handle(client, checked)?.catch((error: unknown) => this.#sendError(client, frame, error));
    } catch (error) {
      this.#reject(client, frame, text, error);
    }
  }

  /** Answers a frame that is not even an object with a type; closes the connection after several of them. */
  rejectMalformed(client: CommandClient, reason: string): void {
    this.#sendError(client, { type: '' }, new ApiError('invalid_request', reason));
    if (++client.malformed >= MAX_MALFORMED) client.output.close(CLOSE.protocol_error, reason);
  }

  #countCommand({ output }: CommandClient): void {
    const spent = this.#options.limits.countCommand(output.user_id);
    if (spent === 'within') return;
    if (spent === 'far over') output.close(CLOSE.too_many_commands, 'too many commands');
    throw this.#options.limits.limitError();
  }

  /** Counts a free frame that changed nothing; beyond a number that no use explains they count as commands. */
  #countIdle(client: CommandClient): void {
    if (client.countIdle() > this.#options.config.WS_RATE_LIMIT_MAX_IDLE) this.#countCommand(client);
  }

  #tooLarge(type: string): ApiError {
    return new ApiError('too_large', `${type}: at most ${this.#options.config.WS_MAX_FREE_BYTES} bytes`);
  }

  /** Refuses a frame that failed its check. Such frames are never free, and their bytes are counted too. */
  #reject(client: CommandClient, frame: UncheckedFrame, text: string, error: unknown): void {
    const { limits, config } = this.#options;
    const { output } = client;
    this.#sendError(client, frame, error);
    if (FREE.has(frame.type) && limits.countCommand(output.user_id) === 'far over')
      output.close(CLOSE.too_many_commands, 'too many commands');
    if (client.countRefused(Buffer.byteLength(text)) <= config.WS_MAX_REFUSED_BYTES) return;
    const isLimited = error instanceof ApiError && error.code === 'rate_limited';
    output.close(isLimited ? CLOSE.too_many_commands : CLOSE.protocol_error, 'too many bytes in refused frames');
  }

  async #markRead({ output }: CommandClient, { id, conversation_id, seq }: ReceiptRead): Promise<void> {
    const { user_id, device_id } = output;
    await this.#options.gateway.call({ kind: 'read', conversation_id, user_id, device_id, seq });
    output.send(`{"type":"ack",${echoId(id)}"conversation_id":"${conversation_id}","seq":${seq}}`);
  }

  #sendHistory({ output }: CommandClient, frame: HistoryGet): Promise<void> {
    return this.#pages.get(output, frame, ({ messages, more }) =>
      output.send(`{"type":"history",${echoId(frame.id)}"messages":${JSON.stringify(messages)},"more":${more}}`),
    );
  }

  #sendError({ output }: CommandClient, frame: UncheckedFrame, error: unknown): void {
    const { type, id, client_message_id } = frame;
    let apiError = error instanceof ApiError ? error : undefined;
    if (!apiError) {
      this.#options.log.error({ unit: 'command', type, connection: output.connection_id, err: error });
      apiError = new ApiError('internal', 'internal error');
    }
    const isSend = type === 'message.send' && typeof client_message_id === 'string' && client_message_id.length <= 64;
    const message = isSend ? `"client_message_id":${JSON.stringify(client_message_id)},` : '';
    output.send(`{"type":"error",${echoId(id)}${message}${JSON.stringify(apiError).slice(1)}`);
    if (isSend) output.send(`{"type":"message.status","status":"rejected",${message}"reason":"${apiError.code}"}`);
  }
}
