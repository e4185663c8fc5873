/** The one way to Postgres: the ORM for people, plain SQL with `$1` for everything that is hot or written in batches. */
import { MikroORM, type Options } from '@mikro-orm/postgresql';
import type { Logger } from 'pino';
import type { Config } from '../config/index.ts';
import { ApiError } from '../contract/errors.ts';
import { isTransient } from '../transient.ts';
import { entities } from './entities.ts';

/**
 * Runs one statement and returns its rows. Parameters: `$1`…; arrays become Postgres arrays (`unnest($1::uuid[])`);
 * a JSON parameter is passed as text (`JSON.stringify`). Rows: int8 → number, timestamptz → Date, json → value.
 * @throws {ApiError} `unavailable` when Postgres can't be reached; anything else as the driver threw it.
 */
export type Query = <T = Record<string, unknown>>(sql: string, params?: readonly unknown[]) => Promise<T[]>;

export interface Database {
  orm: MikroORM;
  query: Query;
  /** Commits when `fn` resolves, rolls back when it rejects. */
  transaction<T>(fn: (query: Query) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

interface TypeParsers {
  getTypeParser(oid: number, format?: string): (value: never) => unknown;
}
interface Statement {
  text: string;
  values?: readonly unknown[];
  types?: TypeParsers;
}
/** What is used of `pg`, which comes with the ORM. */
export interface Pool {
  readonly ended: boolean;
  end(): Promise<void>;
  options: { types: TypeParsers };
  query(statement: Statement): Promise<{ rows: unknown[] }>;
  connect(): Promise<{ query(statement: Statement): Promise<{ rows: unknown[] }>; release(destroy?: boolean): void }>;
}

const PARSERS = new Map<number, (value: never) => unknown>([
  [20, Number],
  [114, JSON.parse],
  [3802, JSON.parse],
  [1184, (value: string) => new Date(value)],
]);

/** @returns true for a violated unique constraint, of that name if one is given. */
export function isDuplicate(error: unknown, constraint?: string): boolean {
  const e = (error ?? {}) as { code?: unknown; constraint?: unknown };
  return e.code === '23505' && (constraint === undefined || e.constraint === constraint);
}

function typed(error: unknown): unknown {
  return isTransient(error) || (error as Error | undefined)?.message === 'Query read timeout'
    ? new ApiError('unavailable', 'the database cannot be reached just now', { retry_after_ms: 1_000 })
    : error;
}

export function openOrm(config: Config, log?: Logger, more: Partial<Options> = {}): Promise<MikroORM> {
  if (!config.DATABASE_URL) throw new Error('DATABASE_URL is not set: npm start without names embeds a Postgres');
  return MikroORM.init({
    clientUrl: config.DATABASE_URL,
    entities,
    pool: { min: 0, max: config.DATABASE_POOL, idleTimeoutMillis: 60_000 },
    driverOptions: {
      connectionTimeoutMillis: config.DATABASE_CONNECT_TIMEOUT_MS,
      query_timeout: config.DATABASE_QUERY_TIMEOUT_MS,
      idle_in_transaction_session_timeout: config.DATABASE_IDLE_TRANSACTION_MS,
      keepAlive: true,
    },
    ensureDatabase: false,
    forceUtcTimezone: true,
    // Statements hold people's data: nothing but the driver's own complaints is logged.
    debug: false,
    colors: false,
    logger: (message) => log?.warn({ unit: 'database', note: message.slice(0, 300) }),
    ...more,
  });
}

/** Opens a pool of `DATABASE_POOL` connections. The first connection is made by the first statement. */
export async function openDatabase(config: Config, log?: Logger): Promise<Database> {
  const orm = await openOrm(config, log);
  const pool = (await orm.driver.getConnection().getNativeClient()) as Pool;
  const fallback = pool.options.types;
  const types: TypeParsers = {
    getTypeParser: (oid, format) => PARSERS.get(oid) ?? fallback.getTypeParser(oid, format),
  };
  const queryOn =
    (on: Pick<Pool, 'query'>): Query =>
    async <T>(text: string, values: readonly unknown[] = []) => {
      try {
        return (await on.query({ text, values, types })).rows as T[];
      } catch (error) {
        throw typed(error);
      }
    };

  return {
    orm,
    query: queryOn(pool),
    async transaction(fn) {
      const client = await pool.connect().catch((error: unknown) => {
        throw typed(error);
      });
      const query = queryOn(client);
      let broken = false;
      try {
        await query('begin');
        const result = await fn(query);
        await query('commit');
        return result;
      } catch (error) {
        await query('rollback').catch(() => {
          broken = true;
        });
        throw error;
      } finally {
        client.release(broken);
      }
    },
    async close() {
      await orm.close(true);
      // The ORM ends only a pool that it has used itself; connections that are left keep the process alive for a minute.
      if (!pool.ended) await pool.end();
    },
  };
}
