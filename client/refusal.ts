/** Why a socket does not open, as far as a page can find out: a browser tells it nothing. */
import { SealwireError } from './errors.ts';

type Fetch = (url: string, init?: { mode?: 'no-cors' }) => Promise<{ json(): Promise<unknown> }>;
export interface RefusalQuery {
  /** Address of the socket. */
  edge: string;
  api: string;
  /** Of this page; undefined outside a browser. */
  origin?: string | undefined;
  fetch?: Fetch;
}

/** Of the page that this runs in; undefined outside a browser. */
export const pageOrigin = (): string | undefined => (globalThis as { location?: { origin?: string } }).location?.origin;

/**
 * The edge says over plain HTTP what it thinks of a page. The API's answers a refused page can't read, but the browser
 * lets it send a request whose answer nobody reads: where that arrives and another one fails, the origin is refused.
 * @returns `forbidden`, or undefined where nothing of that kind was found, e.g. because nobody can be reached.
 */
export async function findRefusal({
  edge,
  api,
  origin = pageOrigin(),
  fetch = globalThis.fetch as Fetch,
}: RefusalQuery): Promise<SealwireError | undefined> {
  const quietly = <T>(asked: Promise<T>): Promise<T | undefined> => asked.catch(() => undefined);
  const socket = new URL(edge);
  socket.protocol = socket.protocol.replace('ws', 'http');
  const told = await quietly(fetch(socket.href).then((reply) => reply.json()));
  const error = (told as { error?: { code?: string } } | undefined)?.error;
  if (error?.code === 'forbidden') return SealwireError.from(error as Parameters<typeof SealwireError.from>[0]);
  if (origin === undefined) return undefined;
  const ping = `${api.replace(/\/+$/, '')}/v1/ping`;
  const readable = await quietly(fetch(ping).then(() => true));
  if (readable || !(await quietly(fetch(ping, { mode: 'no-cors' })))) return undefined;
  return new SealwireError(
    'forbidden',
    `the server refuses pages of ${origin}: add it to the setting ALLOWED_ORIGINS`,
    {
      details: { setting: 'ALLOWED_ORIGINS', origin },
    },
  );
}
