/** Every fenced block of the documents is run by a test, or marked as `checked` and checked here. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import test from 'ava';
import { Value } from 'typebox/value';
import { SETTINGS } from '../../shared/config/index.ts';
import { EVENT_NAMES } from '../../shared/contract/events.ts';
import { PaymentWebhook } from '../../shared/contract/payments.ts';
import { SERVICE_NAMES } from '../../shared/service-names.ts';
import { type Block, blocks, blocksOf, FILES, ROOT, read } from './blocks.ts';
import { findMistake } from './nats-cli.ts';

/** Which test runs the blocks of a document, by language. */
const RUN: Record<string, Record<string, string>> = {
  'README.md': { sh: 'test/docs/examples.test.ts', ts: 'test/docs/programs.test.ts' },
  'docs/accounts.md': { sh: 'test/docs/examples.test.ts', bash: 'test/docs/examples.test.ts' },
  'docs/api.md': { sh: 'test/docs/examples.test.ts' },
  'docs/client.md': { ts: 'test/docs/programs.test.ts' },
  'docs/keys.md': { sh: 'test/docs/examples.test.ts' },
  'docs/payments.md': { sh: 'test/docs/examples.test.ts' },
  'docs/push.md': { sh: 'test/docs/examples.test.ts', ts: 'test/docs/programs.test.ts' },
  'docs/webhooks.md': {
    sh: 'test/docs/examples.test.ts',
    js: 'test/docs/webhooks.test.ts',
    python: 'test/docs/webhooks.test.ts',
    java: 'test/docs/webhooks.test.ts',
  },
};
/** Not programs: their form is checked below. */
const DATA = ['json', 'http', 'mermaid'];

const all: Block[] = FILES.flatMap(blocksOf);
const where = ({ file, line }: Block): string => `${file}:${line}`;

test('every fenced block names its language and is either run or marked as checked', (t) => {
  t.true(all.length > 30);
  const wrong = all.filter(({ file, language, mark }) => {
    if (DATA.includes(language)) return mark !== '';
    if (mark === 'checked') return language !== 'sh';
    return mark !== '' || RUN[file]?.[language] === undefined;
  });
  t.deepEqual(wrong.map(where), []);
  for (const [file, languages] of Object.entries(RUN))
    for (const [language, by] of Object.entries(languages)) {
      t.true(blocks(file, language).length > 0, `${file} has no ${language} block any more`);
      t.true(read(by).includes(file), `${by} does not run ${file}`);
    }
  t.deepEqual(
    FILES.filter((file) => (read(file).match(/^```/gm) ?? []).length !== 2 * blocksOf(file).length),
    [],
    'a fence that is not closed',
  );
});

test('commands in checked blocks use existing scripts, files, settings and services', (t) => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const own = ['ci', 'cit', 'start', 'test'];
  let seen = 0;
  for (const block of all.filter(({ mark }) => mark === 'checked')) {
    for (const line of block.text.split('\n').map((text) => text.replace(/ +# .*$/, ''))) {
      for (const [, script] of line.matchAll(/\bnpm (?:run (?:--silent )?)?([\w-]+)/g)) {
        t.true(own.includes(script!) || scripts[script!] !== undefined, `${where(block)}: npm run ${script}`);
        seen++;
      }
      for (const [, file] of line.matchAll(/\bnode (\S+\.ts)/g))
        t.true(existsSync(join(ROOT, file!)), `${where(block)}: ${file}`);
      for (const [, name] of line.matchAll(/\b([A-Z][A-Z_]{3,})=/g))
        t.true(name! in SETTINGS || name!.startsWith('NATS_'), `${where(block)}: ${name}`);
    }
  }
  t.true(seen > 15);
});

test('[O04] each command line of the nats CLI has a subcommand, arguments and flags that the CLI has', (t) => {
  const lines = FILES.flatMap((file) => {
    const text = read(file);
    const inline = [...text.matchAll(/`(?:command )?(nats (?!CLI)[^`]+)`/g)].map(([, line]) => line!);
    const aliases = [...text.matchAll(/^alias nats='(nats .*)'$/gm)].map(([, line]) => line!);
    return [...inline, ...aliases].map((line) => ({ file, line }));
  });
  t.true(lines.length >= 12);
  const wrong = lines.flatMap(({ file, line }) => {
    const what = findMistake(line);
    return what ? [`${file}: ${line}: ${what}`] : [];
  });
  t.deepEqual(wrong, []);
  t.regex(findMistake("nats stream subjects INBOX_00 --filter 'inbox.00.x.>'")!, /no flag --filter/);
  t.regex(findMistake('nats --server a --server b server report jetstream')!, /twice/);
  t.regex(findMistake('nats stream subject X')!, /no subcommand/);
  t.regex(findMistake('nats consumer info LOG fanout_0 more')!, /takes 2 arguments/);
});

test('blocks of JSON and HTTP match the contract', (t) => {
  const [payment] = blocks('docs/payments.md', 'json');
  t.true(Value.Check(PaymentWebhook, JSON.parse(payment!)));
  for (const block of all.filter(({ language }) => language === 'json'))
    t.notThrows(() => JSON.parse(block.text), where(block));
  for (const block of all.filter(({ language }) => language === 'http')) {
    const [head, body] = block.text.split('\n\n');
    t.regex(head!, /^POST \/\S+ HTTP\/1\.1\n([\w-]+: .+\n?)+$/);
    const event = JSON.parse(body!) as { type: string };
    t.true((EVENT_NAMES as readonly string[]).includes(event.type));
  }
  for (const block of all.filter(({ language }) => language === 'mermaid')) t.regex(block.text, /^flowchart (LR|TD)\n/);
});

test('[O02] docker-compose.yml is YAML whose services, volumes and settings exist', (t) => {
  const { load } = createRequire(import.meta.url)('js-yaml') as { load(text: string): unknown };
  interface Service {
    command?: string[];
    environment?: Record<string, unknown>;
    depends_on?: Record<string, { condition: string }>;
    volumes?: string[];
    healthcheck?: { test?: string[]; disable?: boolean };
  }
  const compose = load(read('docker-compose.yml')) as {
    services: Record<string, Service>;
    volumes: Record<string, unknown>;
  };
  const ownEnvironment = ['NATS_HTTP', 'NATS_LISTEN', 'NATS_STORE_DIR', 'NATS_TLS_CERT', 'NATS_TLS_KEY', 'NATS_TLS_CA'];
  for (const [name, service] of Object.entries(compose.services)) {
    for (const other of Object.keys(service.depends_on ?? {})) t.truthy(compose.services[other], `${name}: ${other}`);
    for (const volume of service.volumes ?? []) t.true(volume.split(':')[0]! in compose.volumes, `${name}: ${volume}`);
    if (name === 'postgres') continue;
    for (const variable of Object.keys(service.environment ?? {}))
      t.true(variable in SETTINGS || ownEnvironment.includes(variable), `${name}: ${variable}`);
    const file = service.command?.find((word) => word.endsWith('.ts'));
    if (file) t.true(existsSync(join(ROOT, file)), `${name}: ${file}`);
  }
  for (const name of SERVICE_NAMES) t.deepEqual(compose.services[name]?.command?.at(-1), name);
});
