import { type Logger, pino } from 'pino';
import type { Config } from './config/index.ts';

/**
 * What an error says of itself. Of a database's only where and which kind: its message, detail and query quote rows and
 * parameters.
 */
export function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { type: typeof error };
  const { name, message, code, constraint, severity, stack, cause } = error as Error & Record<string, unknown>;
  const quotes = severity !== undefined || name.endsWith('Exception');
  return {
    type: name,
    code,
    constraint,
    ...(!quotes && { message }),
    // Only where it was: a stack begins with the message, and may hold those of its causes.
    stack: stack
      ?.split('\n')
      .filter((line) => /^\s+at /.test(line))
      .join('\n')
      .slice(0, 2_000),
    ...(cause !== undefined && { cause: describeError(cause) }),
  };
}

/** One wide line per unit of work. What could hold a secret or a person is cut out by name, whatever logs it. */
export function createLog(config: Pick<Config, 'LOG_LEVEL'>): Logger {
  return pino({
    level: config.LOG_LEVEL,
    base: null,
    serializers: { err: describeError },
    redact: {
      paths: [
        'payload',
        ...[
          'password',
          'old_password',
          'new_password',
          'access_token',
          'refresh_token',
          'csrf_token',
          'ticket',
        ].flatMap((name) => [name, `*.${name}`]),
        '*.payload',
        '*.authorization',
        '*.cookie',
      ],
      censor: '[hidden]',
    },
  });
}
