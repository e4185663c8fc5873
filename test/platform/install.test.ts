/** package-lock.json and docker-compose.yml stay usable on every platform. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { SERVICE_NAMES } from '../../shared/service-names.ts';

const json = (path: string) => JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'));

test('[O01] the platform packages stay optional, and npm on Node 20 keeps the broker', (t) => {
  const { packages } = json('package-lock.json') as {
    packages: Record<string, { optional?: boolean; engines?: object }>;
  };
  for (const name of Object.keys(json('package.json').optionalDependencies)) {
    const entry = packages[`node_modules/${name}`];
    t.true(entry?.optional, `${name} must be optional, or npm refuses to install on other platforms`);
    const supports20 = !JSON.stringify(entry?.engines ?? {}).includes('>=22');
    t.true(supports20, `remove "engines" from ${name} in package-lock.json; see docs/decisions/platform-packages.md`);
  }
});

test('[O02] docker-compose.yml runs every service in a container of its own', (t) => {
  const compose = readFileSync(new URL('../../docker-compose.yml', import.meta.url), 'utf8');
  const commands = [...compose.matchAll(/'services\/main\.ts', '([\w-]+)'\]/g)].map(([, name]) => name);
  t.deepEqual(commands.sort(), [...SERVICE_NAMES].sort());
  for (const word of ['NATS_URL', 'NATS_SECRET', 'DATABASE_URL', 'nats/conf.ts', 'nats/provision.ts'])
    t.true(compose.includes(word), word);
});

test('[O02] the image has every file that its programs import', (t) => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const copied = [...readFileSync(join(root, 'Dockerfile'), 'utf8').matchAll(/^COPY (\w+) \1$/gm)].map(
    ([, dir]) => dir!,
  );
  t.deepEqual([...copied].sort(), ['nats', 'services', 'shared']);
  for (const dir of copied)
    for (const file of readdirSync(join(root, dir), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue;
      const path = join(dir, file);
      for (const [, target] of readFileSync(join(root, path), 'utf8').matchAll(/(?:from|import\() ?'(\.[^']+)'/g)) {
        const [top] = normalize(join(path, '..', target!)).split('/');
        t.true(copied.includes(top!) || top === 'package.json', `${path} imports ${target}`);
      }
    }
});
