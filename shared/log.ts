/** The log of a process: one line per unit of work, without secrets and without what people wrote. */
import { type Logger, pino } from 'pino';
import type { Config } from './config/index.ts';

/**
 * Describes an error without quoting data. Messages of the database (and their detail and query) quote rows and parameters,
 * those of JSON.parse quote the text: of such errors the log gets kind and stack only.
 */
export function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { type: typeof error };
  const { name, message, code, constraint, severity, stack, cause } = error as Error & Record<string, unknown>;
  const quotes = severity !== undefined || name.endsWith('Exception') || name === 'SyntaxError';
  return {
    type: name,
    code,
    constraint,
    ...(!quotes && { message }),
    // Only the lines of the stack: it begins with the message, and may contain the messages of causes.
    stack: stack
      ?.split('\n')
      .filter((line) => /^\s+at /.test(line))
      .join('\n')
      .slice(0, 2_000),
    ...(cause !== undefined && { cause: describeError(cause) }),
  };
}

/** Makes the log. Fields that may hold a secret or what a person wrote are cut out by name, whoever logs them. */
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
