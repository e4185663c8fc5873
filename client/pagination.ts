/** Fetches lists of the API page by page. */
import type { Session } from './session.ts';

interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

/** Yields the items of a list, one page at a time. `firstQuery` is added to the request of the first page only. */
export async function* fetchPages<T>(session: Session, path: string, firstQuery = ''): AsyncGenerator<T[]> {
  let query = firstQuery;
  for (;;) {
    const page: Page<T> = await session.call('GET', `${path}?limit=100${query}`);
    yield page.items;
    if (page.next_cursor === null) return;
    query = `&cursor=${encodeURIComponent(page.next_cursor)}`;
  }
}

/** Fetches all pages of a list. @throws SealwireError */
export async function fetchAll<T>(session: Session, path: string, firstQuery?: string): Promise<T[]> {
  const all: T[] = [];
  for await (const items of fetchPages<T>(session, path, firstQuery)) all.push(...items);
  return all;
}
