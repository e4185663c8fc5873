import { createRequire } from 'node:module';
import { type CursorMap, epochOf } from '../../../nats/inbox/cursor-map.ts';
import type { Welcome } from '../../../shared/contract/frames/server.ts';
import type { Connection } from '../connections/connection.ts';

export const SERVER_VERSION = (createRequire(import.meta.url)('../../../package.json') as { version: string }).version;

/** The first frame of a connection. */
export function welcome(
  { edge: { config }, connection_id, user_id, device_id }: Connection,
  { cursor, backlog, lineage }: { cursor: number; backlog: number; lineage: CursorMap },
): string {
  return JSON.stringify({
    type: 'connection.welcome',
    connection_id,
    user_id,
    device_id,
    server_version: SERVER_VERSION,
    server_time: new Date().toISOString(),
    heartbeat_sec: config.WS_HEARTBEAT_SEC,
    idle_timeout_sec: config.WS_IDLE_TIMEOUT_SEC,
    cursor,
    backlog,
    epoch: epochOf(lineage),
    durability: config.DURABILITY as Welcome['durability'],
    limits: {
      message_max_bytes: config.MESSAGE_MAX_BYTES,
      command_max_bytes: config.WS_MAX_COMMAND_BYTES,
      commands_per_window: config.WS_RATE_LIMIT_MAX_COMMANDS,
      window_sec: config.WS_RATE_LIMIT_WINDOW_SEC,
      unacked_max: config.WS_MAX_UNACKED,
    },
  } satisfies Welcome);
}
