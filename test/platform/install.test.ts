import { readFileSync } from 'node:fs';
import test from 'ava';

const json = (path: string) => JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'));

test('[O01] the platform packages stay optional, and npm on Node 20 does not drop the broker', (t) => {
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
