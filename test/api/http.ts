/** Calls the API by route name over real HTTP and holds every reply against the contract. */
import { strict as assert } from 'node:assert';
import type { ErrorBody } from '../../shared/contract/errors.ts';
import { ERROR_STATUS } from '../../shared/contract/errors.ts';
import type { LoggedIn } from '../../shared/contract/http/auth.ts';
import { type BodyOf, type ReplyOf, ROUTES, type Route, type RouteName } from '../../shared/contract/http/routes.ts';
import { checker } from '../../shared/contract/validate.ts';
import { createUsername, PASSWORD } from '../env/people.ts';

export interface CallOptions {
  id?: string;
  body?: unknown;
  /** The body as it goes over the wire, instead of `body`. */
  raw?: string | Uint8Array;
  query?: Record<string, string | number>;
  token?: string;
  headers?: Record<string, string>;
}
export interface Reply<T> {
  status: number;
  headers: Headers;
  /** Of a success; else it throws when read. */
  readonly data: T;
  error: ErrorBody | undefined;
}

/** Registering is answered otherwise only where a test has switched verification on. */
type DataOf<N extends RouteName> = N extends 'auth.register' ? LoggedIn : ReplyOf<N>['data'];

export class Api {
  readonly url: string;

  constructor(url: string) {
    this.url = url;
  }

  async ask<N extends RouteName>(name: N, ask: CallOptions = {}): Promise<Reply<DataOf<N>>> {
    const route: Route = ROUTES[name];
    const url = new URL(this.url + route.path.replace('{id}', encodeURIComponent(ask.id ?? '')));
    for (const [key, value] of Object.entries(ask.query ?? {})) url.searchParams.set(key, String(value));
    const body = ask.raw ?? (ask.body === undefined ? undefined : JSON.stringify(ask.body));
    const response = await fetch(url, {
      method: route.method,
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(ask.token && { authorization: `Bearer ${ask.token}` }),
        ...ask.headers,
      },
      ...(body !== undefined && { body: body as string }),
    });
    const { status, headers } = response;
    const json = (await response.json()) as { data?: unknown; error?: ErrorBody };
    assert.ok(headers.get('x-request-id'));
    if (!response.ok) {
      assert.equal(ERROR_STATUS[json.error!.code], status);
      return { status, headers, error: json.error, data: undefined as never };
    }
    assert.ok(Object.hasOwn(route.reply, status), `${name} may not answer ${status}`);
    const data = route.bare ? json : json.data;
    checker(route.reply[status]!, `reply of ${name}`, { stored: false })(data);
    return { status, headers, data: data as DataOf<N>, error: undefined };
  }

  /** Registers a person with one device. */
  async register(more: Partial<BodyOf<'auth.register'>> = {}): Promise<LoggedIn> {
    const { status, data, error } = await this.ask('auth.register', {
      body: { username: createUsername(), password: PASSWORD, device: { name: 'phone' }, ...more },
    });
    assert.equal(status, 201, error?.message);
    return data;
  }

  /** Logs a registered person in: on a new device named `tablet`, or on the given one. */
  logIn(person: LoggedIn, device: object = { name: 'tablet' }): Promise<Reply<LoggedIn>> {
    return this.ask('auth.login', { body: { identifier: person.user.number, password: PASSWORD, device } });
  }
}

/** Settings that keep password hashing out of the measured time. */
export const QUICK_HASHING = { ARGON2_MEMORY_KIB: 64, ARGON2_PASSES: 1 };
