/** Holds the documents against the table of routes: docs/api.md lists every route, and no document names another one. */
import test from 'ava';
import { ROUTES } from '../../shared/contract/http/routes.ts';
import { FILES, read } from './blocks.ts';

/** Answered outside of the table: by the edge, and by every process for load balancers and operators. */
const OTHERS = ['GET /v1/ws', 'GET /ws', 'GET /health', 'GET /ready', 'GET /metrics'];

const documented = (text: string): string[] =>
  [
    ...text.matchAll(
      /`((?:GET|POST|PUT|PATCH|DELETE) \/(?:v1|ws|payments|\.well-known|health|ready|metrics)\b[^`\s?]*)[^`]*`/g,
    ),
  ].map(([, route]) => route!);
const routes = Object.values(ROUTES).map(({ method, path }) => `${method} ${path}`);

test('docs/api.md lists every route of the table', (t) => {
  const listed = new Set(documented(read('docs/api.md')));
  t.deepEqual(
    routes.filter((route) => !listed.has(route)),
    [],
    'add these routes to the table of docs/api.md',
  );
});

test('every route that a document names exists', (t) => {
  const known = new Set([...routes, ...OTHERS]);
  const unknown = FILES.flatMap((file) =>
    documented(read(file))
      .filter((route) => !known.has(route) && !route.includes('…'))
      .map((route) => `${file}: ${route}`),
  );
  t.deepEqual(unknown, [], 'name an existing route, or take the mention out');
});
