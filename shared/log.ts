import { type Logger, pino } from 'pino';
import type { Config } from './config/index.ts';

/** One wide line per unit of work. What could hold a secret or a person is cut out by name, whatever logs it. */
export function createLog(config: Pick<Config, 'LOG_LEVEL'>): Logger {
  return pino({
    level: config.LOG_LEVEL,
    base: null,
    redact: {
      paths: [
        'payload',
        'password',
        'access_token',
        'refresh_token',
        'ticket',
        '*.payload',
        '*.password',
        '*.authorization',
        '*.cookie',
      ],
      censor: '[hidden]',
    },
  });
}
