/** The only part that knows uWebSockets.js: the upgrade, the socket's events, /health /ready /metrics. */
import * as uws from 'uWebSockets.js';
import type { Config } from '../../shared/config/index.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import { CLOSE, SUBPROTOCOL } from '../../shared/contract/frames.ts';
import { uuid7 } from '../../shared/ids.ts';
import type { Context } from '../../shared/lifecycle.ts';
import { opsReply } from '../../shared/ops.ts';
import { openOrigins } from '../../shared/origins.ts';
import { freePort } from '../../shared/ports.ts';
import { Admission, type Admitted } from './admission.ts';
import { Commands } from './commands.ts';
import type { Edge } from './edge.ts';
import { Session } from './session.ts';

type Uws = typeof uws;
type App = ReturnType<Uws['App']>;
type Response = Parameters<Parameters<App['get']>[1]>[0];
/** What uWebSockets.js keeps with a socket. */
interface Held {
  admitted: Admitted;
  ip: string;
  session?: Session;
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
  const admission = new Admission(edge.db, config);
  const commands = new Commands(edge);
  const origins = openOrigins(config, 'WS_ALLOWED_ORIGINS', log);
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
      let gone = false;
      res.onAborted(() => {
        gone = true;
      });
      const path = req.getUrl();
      const key = req.getHeader('sec-websocket-key');
      const extensions = req.getHeader('sec-websocket-extensions');
      const offered = req.getHeader('sec-websocket-protocol');
      const ip = Buffer.from(res.getRemoteAddressAsText()).toString();
      const knock = {
        ip,
        host: req.getHeader('host'),
        origin: req.getHeader('origin'),
        authorization: req.getHeader('authorization'),
        protocols: offered ? offered.split(',').map((one) => one.trim()) : [],
        query: new URLSearchParams(req.getQuery()),
      };
      const admit = async (): Promise<Admitted> => {
        if (path !== '/v1/ws' && path !== '/ws') throw new ApiError('not_found', 'the socket is at /v1/ws');
        if (edge.draining) throw new ApiError('unavailable', 'this edge is going down', { retry_after_ms: 500 });
        const refused = origins.refusal(knock.origin, knock.host);
        if (refused) throw refused;
        return await admission.check(knock);
      };
      admit().then(
        (admitted) => {
          if (gone) return;
          const protocol = knock.protocols.length ? SUBPROTOCOL : '';
          // An asynchronous upgrade in a cork is closed as it opens (1006) once in a few thousand times; without one, or in the
          // cork of another socket, each prints a warning. Mended upstream by uNetworking/uWebSockets#1929. Clients connect again.
          res.cork(() => void res.upgrade<Held>({ admitted, ip }, key, protocol, extensions, context));
        },
        (error: unknown) => {
          if (!gone) refuse(res, error);
        },
      );
    },

    open(ws) {
      const held = ws.getUserData();
      const { admitted, ip } = held;
      admission.entered(ip);
      const session = new Session(edge, ws, uuid7(), admitted.identity, ip);
      held.session = session;
      metrics.sockets.inc();
      const { device_id, user_id, connection_id } = session;
      edge.sessions.get(device_id)?.end(CLOSE.replaced, 'a newer connection of this device');
      edge.sessions.set(device_id, session);
      // Ended between the check and now.
      if (edge.revocations.has(session.session_id)) return session.end(CLOSE.unauthenticated, 'this session has ended');
      edge.presence.here(device_id);
      edge.people.join(session);
      edge.people.signal(user_id, { t: 'replaced', device_id, connection_id });
      const { cursor, since } = admitted;
      const known = edge.cursors.get(device_id);
      if (known !== undefined && known > (cursor ?? -1)) session.inbox.start(known, Date.now());
      else session.inbox.start(cursor, since);
    },

    message(ws, message, isBinary) {
      const { session } = ws.getUserData();
      if (!session?.open || session.closingSince) return;
      if (isBinary) commands.strike(session, 'frames of this subprotocol are text');
      else commands.take(session, Buffer.from(message).toString());
    },

    drain(ws) {
      ws.getUserData().session?.drained();
    },

    close(ws, code) {
      const { session, ip } = ws.getUserData();
      admission.left(ip);
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
    let gone = false;
    res.onAborted(() => {
      gone = true;
    });
    const path = req.getMethod() === 'get' ? req.getUrl() : '';
    const [origin, host] = [req.getHeader('origin'), req.getHeader('host')];
    opsReply(path, context).then(
      (reply) => {
        if (gone) return;
        if (reply) answer(res, reply.status, reply.type, reply.body);
        else if (path === '/v1/ws' || path === '/ws')
          // A browser does not tell its page why an upgrade was refused, so the page asks here.
          refuse(res, origins.refusal(origin, host) ?? new ApiError('invalid_request', 'upgrade to a WebSocket'));
        else refuse(res, new ApiError('not_found', 'there are /v1/ws, /health, /ready and /metrics'));
      },
      (error: unknown) => {
        if (!gone) refuse(res, error);
      },
    );
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
