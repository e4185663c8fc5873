/** Finds out why a socket does not open, as far as a page can: a browser gives no reason. */
import { SealwireError } from './errors.ts';
import { currentOrigin } from './http.ts';

type Fetch = (url: string, init?: { mode?: 'no-cors' }) => Promise<{ json(): Promise<unknown> }>;
export interface RefusalQuery {
  /** Address of the socket. */
  edge: string;
  api: string;
  /** Origin of this page; undefined outside a browser. */
  origin?: string | undefined;
  fetch?: Fetch;
}

/**
 * Asks the edge and the API whether they refuse this page's origin. The edge answers over plain HTTP. A refused page
 * cannot read replies of the API, but the browser does send a `no-cors` request: if that one succeeds and a normal one
 * fails, the API refuses the origin.
 * @returns SealwireError `forbidden`; undefined when no refusal was found, e.g. because the server can't be reached
 */
export async function findRefusal({
  edge,
  api,
  origin = currentOrigin(),
  fetch = globalThis.fetch as Fetch,
}: RefusalQuery): Promise<SealwireError | undefined> {
  const orUndefined = <T>(request: Promise<T>): Promise<T | undefined> => request.catch(() => undefined);
  const url = new URL(edge);
  url.protocol = url.protocol.replace('ws', 'http');
  const reply = await orUndefined(fetch(url.href).then((response) => response.json()));
  const error = (reply as { error?: { code?: string } } | undefined)?.error;
  if (error?.code === 'forbidden') return SealwireError.from(error as Parameters<typeof SealwireError.from>[0]);
  if (origin === undefined) return undefined;
  const ping = `${api.replace(/\/+$/, '')}/v1/ping`;
  const isReadable = await orUndefined(fetch(ping).then(() => true));
  if (isReadable || !(await orUndefined(fetch(ping, { mode: 'no-cors' })))) return undefined;
  return new SealwireError(
    'forbidden',
    `the server refuses pages of ${origin}: add it to the setting ALLOWED_ORIGINS`,
    { details: { setting: 'ALLOWED_ORIGINS', origin } },
  );
}
