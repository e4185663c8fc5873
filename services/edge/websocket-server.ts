/** Adapts uWebSockets.js: upgrades, events of sockets, /health and /ready. No other file knows the library. */
import * as uws from 'uWebSockets.js';
import type { Config } from '../../shared/config/index.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import { SUBPROTOCOL } from '../../shared/contract/protocol.ts';
import { replyToClient } from '../../shared/ops.ts';
import type { Origins } from '../../shared/origins.ts';
import { freePort } from '../../shared/ports.ts';
import { createClientAddressFinder } from '../../shared/proxies.ts';
import type { Context } from '../../shared/service.ts';
import type { Admission, Credentials } from './connections/admission.ts';
import { ConnectionOpening, type OpeningOptions } from './connections/connection-opening.ts';

type Uws = typeof uws;
type App = ReturnType<Uws['App']>;
type Response = Parameters<Parameters<App['get']>[1]>[0];
type Request = Parameters<Parameters<App['get']>[1]>[1];
/** Data that uWebSockets.js keeps with a socket. */
interface SocketData {
  ip: string;
  credentials: Credentials;
  opening?: ConnectionOpening;
}

const STATUS: Record<number, string> = {
  200: '200 OK',
  400: '400 Bad Request',
  401: '401 Unauthorized',
  403: '403 Forbidden',
  404: '404 Not Found',
  429: '429 Too Many Requests',
  500: '500 Internal Server Error',
  503: '503 Service Unavailable',
};
/** The longest that uWebSockets.js takes. */
const MAX_IDLE_TIMEOUT_SEC = 960;
const isSocketPath = (path: string): boolean => path === '/v1/ws' || path === '/ws';

interface ServerOptions {
  context: Context;
  admission: Admission;
  origins: Origins;
  opening: OpeningOptions;
}
export interface Server {
  port: number;
  /** Takes no new connections. */
  stopListening(): void;
  close(): void;
}

export async function listen(options: ServerOptions): Promise<Server> {
  const app = uws.App();
  serveSockets(app, options);
  serveHttp(app, options);
  const socket = await bind(app, options.context.config);
  let isListening = true;
  const stopListening = (): void => {
    if (isListening) uws.us_listen_socket_close(socket);
    isListening = false;
  };
  return {
    port: uws.us_socket_local_port(socket as never),
    stopListening,
    close() {
      stopListening();
      app.close();
    },
  };
}

function serveSockets(app: App, options: ServerOptions): void {
  const { config } = options.context;
  const clientAddress = createClientAddressFinder(config);
  app.ws<SocketData>('/*', {
    compression: 0,
    maxPayloadLength: config.WS_MAX_COMMAND_BYTES,
    idleTimeout: Math.min(MAX_IDLE_TIMEOUT_SEC, config.WS_IDLE_TIMEOUT_SEC),
    // The library drops nothing and closes nothing: connections/connection.ts decides how much may pile up.
    maxBackpressure: 1 << 30,
    closeOnBackpressureLimit: false,
    // The library pings only shortly before the timeout; clients count on a ping every WS_HEARTBEAT_SEC.
    sendPingsAutomatically: false,

    upgrade(res, req, context) {
      const address = Buffer.from(res.getRemoteAddressAsText()).toString();
      const ip = clientAddress(address, readHeaderLines(req, 'x-forwarded-for'));
      const offered = req.getHeader('sec-websocket-protocol');
      const protocols = offered ? offered.split(',').map((protocol) => protocol.trim()) : [];
      let credentials: Credentials;
      try {
        credentials = admit(options, req, ip, protocols);
      } catch (error) {
        refuse(options, res, error);
        return;
      }
      const key = req.getHeader('sec-websocket-key');
      const extensions = req.getHeader('sec-websocket-extensions');
      res.upgrade<SocketData>({ ip, credentials }, key, protocols.length ? SUBPROTOCOL : '', extensions, context);
    },

    open(ws) {
      const data = ws.getUserData();
      data.opening = new ConnectionOpening(options.opening, ws, data.ip);
      void data.opening.open(data.credentials);
    },

    message(ws, message, isBinary) {
      // The bytes are only there until this returns.
      ws.getUserData().opening?.receive(isBinary ? undefined : Buffer.from(message).toString());
    },

    drain(ws) {
      ws.getUserData().opening?.onDrained();
    },

    close(ws, code) {
      ws.getUserData().opening?.onSocketClosed(code);
    },
  });
}

/** @throws {ApiError} why the upgrade is refused */
function admit({ admission, origins, opening }: ServerOptions, req: Request, ip: string, protocols: string[]) {
  if (!isSocketPath(req.getUrl())) throw new ApiError('not_found', 'the WebSocket is at /v1/ws');
  if (opening.connections.isDraining)
    throw new ApiError('unavailable', 'this edge is shutting down; connect again', { retry_after_ms: 500 });
  const refusal = origins.refusal(req.getHeader('origin'), req.getHeader('host'));
  if (refusal) throw refusal;
  const authorization = req.getHeader('authorization');
  return admission.check({ ip, authorization, protocols, query: new URLSearchParams(req.getQuery()) });
}

function serveHttp(app: App, options: ServerOptions): void {
  const { context, origins } = options;
  app.any('/*', (res, req) => {
    const path = req.getMethod() === 'get' ? req.getUrl() : '';
    const reply = replyToClient(path, context);
    if (reply) answer(res, reply.status, reply.type, reply.body);
    else if (isSocketPath(path))
      // A browser does not tell its page why an upgrade was refused, so the page asks here.
      refuse(
        options,
        res,
        origins.refusal(req.getHeader('origin'), req.getHeader('host')) ??
          new ApiError('invalid_request', 'upgrade to a WebSocket'),
      );
    else refuse(options, res, new ApiError('not_found', 'there are /v1/ws, /health and /ready'));
  });
}

/** Answers a request or an upgrade with an error. */
function refuse({ context: { log, metrics } }: ServerOptions, res: Response, error: unknown): void {
  if (!(error instanceof ApiError)) log.error({ unit: 'upgrade', err: error });
  const apiError = error instanceof ApiError ? error : new ApiError('internal', 'internal error');
  metrics.records.inc({ stage: 'edge', outcome: 'refused' });
  const body = JSON.stringify({ error: apiError });
  answer(res, apiError.status, 'application/json; charset=utf-8', body, apiError.retry_after_ms);
}

/** Joins all lines of a header: `getHeader` gives only the first, which a client may have written before a proxy added its own. */
function readHeaderLines(req: Request, name: string): string {
  const lines: string[] = [];
  req.forEach((key, value) => {
    if (key === name) lines.push(value);
  });
  return lines.join(',');
}

/** LIBUS_LISTEN_EXCLUSIVE_PORT; the type declarations lack it, and this form of `listen`. */
const EXCLUSIVE_PORT = 1;
interface Listener {
  listen(host: string, port: number, options: number, done: (token: ListenSocket | false) => void): void;
}
type ListenSocket = Parameters<Uws['us_listen_socket_close']>[0];

/**
 * Binds the port. Port 0 is made concrete here: uWebSockets.js lets a listener share its address with the closed connections of
 * a killed one (SO_REUSEADDR) only where a port is named. Exclusive, or a second edge would share the port without an error.
 */
async function bind(app: App, { HOST, EDGE_PORT }: Config): Promise<ListenSocket> {
  for (let tries = EDGE_PORT ? 1 : 5; tries > 0; tries--) {
    const port = EDGE_PORT || (await freePort(HOST));
    const token = await new Promise<ListenSocket | false>((resolve) => {
      (app as unknown as Listener).listen(HOST, port, EXCLUSIVE_PORT, resolve);
    });
    if (token) return token;
  }
  throw new Error(`the edge cannot listen on ${HOST}:${EDGE_PORT}: is EDGE_PORT in use?`);
}

/** Writes the whole answer to an HTTP request. */
function answer(res: Response, status: number, type: string, body: string, retryAfterMs?: number): void {
  res.cork(() => {
    res.writeStatus(STATUS[status] ?? `${status} Error`).writeHeader('content-type', type);
    res.writeHeader('cache-control', 'no-store');
    // An origin was refused: its page may read that, and by which setting.
    if (status === 403) res.writeHeader('access-control-allow-origin', '*');
    if (retryAfterMs !== undefined) res.writeHeader('retry-after', String(Math.ceil(retryAfterMs / 1_000)));
    res.end(body);
  });
}
