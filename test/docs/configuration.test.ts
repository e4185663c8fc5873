/** Checks the generated page of settings and how wrong settings are refused. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { configurationDocs } from '../../shared/config/docs.ts';
import { readConfig } from '../../shared/config/index.ts';

test('docs/configuration.md matches the settings (npm run docs writes it)', (t) => {
  t.is(readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8'), configurationDocs());
});

test('a wrong value is refused by name, and production refuses unsafe settings', (t) => {
  t.throws(() => readConfig({ PARTITIONS: 'many' }), { message: /PARTITIONS must be a whole number/ });
  t.throws(() => readConfig({ DURABILITY: 'sometimes' }), { message: /DURABILITY must be durable or fast/ });
  t.throws(
    () => readConfig({ NODE_ENV: 'production', DURABILITY: 'fast', WS_ALLOW_QUERY_TOKEN: 'true', CORS_ORIGINS: '*' }),
    { message: /DURABILITY=fast.*WS_ALLOW_QUERY_TOKEN.*CORS_ORIGINS/ },
  );
  t.true(Object.isFrozen(readConfig({})));
});
