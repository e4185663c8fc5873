/**
 * Opens Postgres for a service: entities by MikroORM, plain SQL with `$1` parameters, and transactions that mix both.
 *
 * The rule (docs/decisions/orm.md): single rows of people and of what operators configure are read and written as
 * entities (`entities.ts`). SQL is for joins, upserts, claims, counters, locks, batches and projections, and for whatever
 * changes several tables in one round trip.
 */
import { DriverException, type EntityManager, MikroORM, type Options } from '@mikro-orm/postgresql';
import type { Logger } from 'pino';
import type { Config } from '../config/index.ts';
import { ApiError } from '../contract/errors.ts';
import { isTransient } from '../transient.ts';
import { entities } from './entities.ts';

export type { EntityManager };

/**
 * Runs one statement and returns its rows. Parameters: `$1`…; arrays become Postgres arrays (`unnest($1::uuid[])`);
 * a JSON parameter is passed as text (`JSON.stringify`). Rows: int8 → number, timestamptz → Date, json → value.
 * @throws {ApiError} `unavailable` when Postgres can't be reached; anything else as the driver threw it.
 */
export type Query = <T = Record<string, unknown>>(sql: string, params?: readonly unknown[]) => Promise<T[]>;

/** One transaction on one connection, shared by entities and SQL: each sees at once what the other has written. */
export interface Transaction {
  query: Query;
  /** A unit of work of this transaction. Only what was flushed is written; the commit does not flush. */
  readonly em: EntityManager;
}

export interface Database {
  orm: MikroORM;
  query: Query;
  /** @returns a new unit of work outside a transaction: every statement of its flush commits by itself. */
  em(): EntityManager;
  /**
   * Commits when `fn` resolves, rolls back when it rejects.
   * @throws {ApiError} `unavailable` when Postgres can't be reached; anything else as `fn` threw it.
   */
  transaction<T>(fn: (transaction: Transaction) => Promise<T>): Promise<T>;
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
interface Result {
  rows: unknown[];
  rowCount: number | null;
}
interface Client {
  query(statement: Statement): Promise<Result>;
  release(destroy?: boolean): void;
}
/** The part of `pg` that is used here; the ORM opens the pool. */
export interface Pool {
  readonly ended: boolean;
  end(): Promise<void>;
  options: { types: TypeParsers };
  query(statement: Statement): Promise<Result>;
  connect(): Promise<Client>;
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

function toApiError(error: unknown): unknown {
  return isTransient(error) && !(error instanceof ApiError)
    ? new ApiError('unavailable', 'the database cannot be reached; try again', { retry_after_ms: 1_000 })
    : error;
}

/**
 * Makes a `pg` client, or the pool, the transaction context of an EntityManager. The ORM asks of a context only
 * `executeQuery`, with the parameters already written into the text. Beginning, ending and giving back the connection
 * stay with `transaction` and with the pool: the ORM would give back a connection that a timed-out statement still occupies.
 */
const statementContext = (on: Pick<Pool, 'query'>) => ({
  async executeQuery({ sql }: { sql: string }): Promise<{ rows: unknown[]; numAffectedRows: number | null }> {
    const { rows, rowCount } = await on.query({ text: sql });
    return { rows, numAffectedRows: rowCount };
  },
});

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
    // A flush of one row is one round trip. Whatever must be written together is written in `transaction`.
    implicitTransactions: false,
    // Statements contain people's data: only messages of the driver itself are logged.
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
        throw toApiError(error);
      }
    };

  const em = (on: Pick<Pool, 'query'> = pool): EntityManager => {
    const unit = orm.em.fork();
    unit.setTransactionContext(statementContext(on));
    return unit;
  };

  return {
    orm,
    query: queryOn(pool),
    em: () => em(),
    async transaction(fn) {
      const client = await pool.connect().catch((error: unknown) => {
        throw toApiError(error);
      });
      const query = queryOn(client);
      let unit: EntityManager | undefined;
      let broken = false;
      try {
        await query('begin');
        const result = await fn({
          query,
          // Most transactions are SQL only, and a fork costs as much as a short statement.
          get em() {
            unit ??= em(client);
            return unit;
          },
        });
        await query('commit');
        return result;
      } catch (error) {
        await query('rollback').catch(() => {
          broken = true;
        });
        // Errors of `query` are converted already; those of another engine that the caller used must not blame Postgres.
        throw error instanceof DriverException ? toApiError(error) : error;
      } finally {
        client.release(broken);
      }
    },
    async close() {
      await orm.close(true);
      // The ORM ends only a pool that it has used itself. Open connections would keep the process alive for a minute.
      if (!pool.ended) await pool.end();
    },
  };
}
