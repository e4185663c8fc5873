/** Makes the first frame of a connection, `connection.welcome`: where the device is, and the limits of this server. */
import { type CursorMap, epochOf } from '../../../nats/inbox/cursor-map.ts';
import type { Config } from '../../../shared/config/index.ts';
import type { Welcome } from '../../../shared/contract/frames/server.ts';
import { SERVER_VERSION } from '../../../shared/version.ts';
import type { DeviceOutput } from './device-output.ts';

export type WelcomeConfig = Pick<
  Config,
  | 'DURABILITY'
  | 'MESSAGE_MAX_BYTES'
  | 'WS_HEARTBEAT_SEC'
  | 'WS_IDLE_TIMEOUT_SEC'
  | 'WS_MAX_COMMAND_BYTES'
  | 'WS_MAX_UNACKED'
  | 'WS_RATE_LIMIT_MAX_COMMANDS'
  | 'WS_RATE_LIMIT_WINDOW_SEC'
>;

export function welcomeFrame(
  config: WelcomeConfig,
  { connection_id, user_id, device_id }: Pick<DeviceOutput, 'connection_id' | 'user_id' | 'device_id'>,
  { cursor, backlog, cursorMap }: { cursor: number; backlog: number; cursorMap: CursorMap },
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
    epoch: epochOf(cursorMap),
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
