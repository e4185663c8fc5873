/** The only part that knows uWebSockets.js: the upgrade, the socket's events, /health and /ready. */
import * as uws from 'uWebSockets.js';
import type { Config } from '../../shared/config/index.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import { SUBPROTOCOL } from '../../shared/contract/protocol.ts';
import { replyToClient } from '../../shared/ops.ts';
import { createOrigins } from '../../shared/origins.ts';
import { freePort } from '../../shared/ports.ts';
import { createClientAddressFinder } from '../../shared/proxies.ts';
import type { Context } from '../../shared/service.ts';
import { Commands } from './commands/dispatch.ts';
import { Admission, type Claim } from './connections/admission.ts';
import { Entering } from './connections/opening.ts';
import type { Edge } from './edge.ts';

type Uws = typeof uws;
type App = ReturnType<Uws['App']>;
type Response = Parameters<Parameters<App['get']>[1]>[0];
type Request = Parameters<Parameters<App['get']>[1]>[1];
/** What uWebSockets.js keeps with a socket. */
interface Held {
  claim: Claim;
  ip: string;
  entering?: Entering;
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

export interface Server {
  port: number;
  /** Takes no new connections. */
  stopListening(): void;
  close(): void;
}

export async function listen(edge: Edge, context: Context): Promise<Server> {
  const { config, log, metrics } = edge;
  const admission = new Admission(edge.db, config, edge.revocations, (device_id) => edge.sessions.has(device_id));
  const commands = new Commands(edge);
  const origins = createOrigins(config, 'WS_ALLOWED_ORIGINS', log);
  const clientAddress = createClientAddressFinder(config);
  const app = uws.App();

  app.ws<Held>('/*', {
    compression: 0,
    maxPayloadLength: config.WS_MAX_COMMAND_BYTES,
    idleTimeout: Math.min(960, config.WS_IDLE_TIMEOUT_SEC),
    // Of its own accord it drops nothing and closes nothing: how much may pile up is decided in session.ts.
    maxBackpressure: 1 << 30,
    closeOnBackpressureLimit: false,
    // It pings only shortly before the timeout; clients count on every WS_HEARTBEAT_SEC.
    sendPingsAutomatically: false,

    upgrade(res, req, context) {
      const path = req.getUrl();
      const offered = req.getHeader('sec-websocket-protocol');
      const ip = clientAddress(Buffer.from(res.getRemoteAddressAsText()).toString(), lines(req, 'x-forwarded-for'));
      const knock = {
        ip,
        host: req.getHeader('host'),
        origin: req.getHeader('origin'),
        authorization: req.getHeader('authorization'),
        protocols: offered ? offered.split(',').map((one) => one.trim()) : [],
        query: new URLSearchParams(req.getQuery()),
      };
      let claim: Claim;
      try {
        if (path !== '/v1/ws' && path !== '/ws') throw new ApiError('not_found', 'the socket is at /v1/ws');
        if (edge.draining) throw new ApiError('unavailable', 'this edge is going down', { retry_after_ms: 500 });
        const refused = origins.refusal(knock.origin, knock.host);
        if (refused) throw refused;
        claim = admission.check(knock);
      } catch (error) {
        refuse(res, error);
        return;
      }
      const key = req.getHeader('sec-websocket-key');
      const extensions = req.getHeader('sec-websocket-extensions');
      res.upgrade<Held>({ claim, ip }, key, knock.protocols.length ? SUBPROTOCOL : '', extensions, context);
    },

    open(ws) {
      const held = ws.getUserData();
      held.entering = new Entering(edge, commands, ws, held.ip);
      void held.entering.enter(admission, held.claim);
    },

    message(ws, message, isBinary) {
      // The bytes are only there until this returns.
      ws.getUserData().entering?.take(isBinary ? undefined : Buffer.from(message).toString());
    },

    drain(ws) {
      ws.getUserData().entering?.session?.drained();
    },

    close(ws, code) {
      const { entering, ip, claim } = ws.getUserData();
      admission.left(ip, claim);
      entering?.closed();
      const session = entering?.session;
      if (!session) return;
      const { acked, unacked } = session.inbox;
      session.closed();
      edge.people.leave(session);
      metrics.sockets.dec();
      metrics.closed.inc({ code: String(code) });
      if (edge.sessions.get(session.device_id) === session) {
        edge.sessions.delete(session.device_id);
        if (!edge.draining) {
          edge.away.left(session, acked);
          edge.presence.gone(session.device_id);
        }
      }
      const { connection_id: connection, user_id, device_id, opened, taken, said } = session;
      log.info({
        unit: 'connection',
        connection,
        user_id,
        device_id,
        code,
        ms: Date.now() - opened,
        taken,
        said,
        unacked,
      });
    },
  });

  function refuse(res: Response, error: unknown): void {
    if (!(error instanceof ApiError)) log.error({ unit: 'upgrade', err: error });
    const told = error instanceof ApiError ? error : new ApiError('internal', 'that went wrong on our side');
    metrics.records.inc({ stage: 'edge', outcome: 'refused' });
    answer(res, told.status, 'application/json; charset=utf-8', JSON.stringify({ error: told }), told.retry_after_ms);
  }

  app.any('/*', (res, req) => {
    const path = req.getMethod() === 'get' ? req.getUrl() : '';
    const reply = replyToClient(path, context);
    if (reply) answer(res, reply.status, reply.type, reply.body);
    else if (path === '/v1/ws' || path === '/ws')
      // A browser does not tell its page why an upgrade was refused, so the page asks here.
      refuse(
        res,
        origins.refusal(req.getHeader('origin'), req.getHeader('host')) ??
          new ApiError('invalid_request', 'upgrade to a WebSocket'),
      );
    else refuse(res, new ApiError('not_found', 'there are /v1/ws, /health and /ready'));
  });

  const socket = await bind(app, config);
  let listening = true;
  const stopListening = (): void => {
    if (listening) uws.us_listen_socket_close(socket);
    listening = false;
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

/** All lines of a header: `getHeader` gives only the first, which a client may have written before a proxy added its own. */
function lines(req: Request, name: string): string {
  const found: string[] = [];
  req.forEach((key, value) => {
    if (key === name) found.push(value);
  });
  return found.join(',');
}

/** LIBUS_LISTEN_EXCLUSIVE_PORT; the types lack it, and this form of `listen`. */
const EXCLUSIVE_PORT = 1;
interface Binder {
  listen(host: string, port: number, options: number, done: (token: Listening | false) => void): void;
}
type Listening = Parameters<Uws['us_listen_socket_close']>[0];

/**
 * Port 0 is made concrete here: uWebSockets.js lets a listener share its address with the closed connections of a
 * killed one (SO_REUSEADDR) only where a port is named. Exclusive, or a second edge would share the port in silence.
 */
async function bind(app: App, { HOST, EDGE_PORT }: Config): Promise<Listening> {
  for (let tries = EDGE_PORT ? 1 : 5; tries > 0; tries--) {
    const port = EDGE_PORT || (await freePort(HOST));
    const token = await new Promise<Listening | false>((resolve) => {
      (app as unknown as Binder).listen(HOST, port, EXCLUSIVE_PORT, resolve);
    });
    if (token) return token;
  }
  throw new Error(`the edge cannot listen on ${HOST}:${EDGE_PORT}: is EDGE_PORT taken?`);
}

function answer(res: Response, status: number, type: string, body: string, retryAfterMs?: number): void {
  res.cork(() => {
    res.writeStatus(STATUS[status] ?? `${status} Error`).writeHeader('content-type', type);
    res.writeHeader('cache-control', 'no-store');
    // Of an origin: the page may read that it was refused, and by which setting.
    if (status === 403) res.writeHeader('access-control-allow-origin', '*');
    if (retryAfterMs !== undefined) res.writeHeader('retry-after', String(Math.ceil(retryAfterMs / 1_000)));
    res.end(body);
  });
}
