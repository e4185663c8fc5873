/** The broker enforces the permissions of each service. */
import test from 'ava';
import { type NatsConnection, PermissionViolationError } from 'nats';
import { permissions } from '../../nats/permissions.ts';
import type { ServiceName } from '../../shared/service-names.ts';
import { type Env, startEnv } from '../env/index.ts';

let env: Env;
test.before(async () => {
  env = await startEnv();
});
test.after.always(() => env?.stop());

const table = permissions({ PARTITIONS: 2, INBOX_SHARDS: 2 });
const services = Object.keys(table).filter((name) => name !== 'admin') as ServiceName[];

/** @returns one subject that the pattern matches */
const example = (pattern: string): string =>
  pattern
    .split('.')
    .map((token) => (token === '*' || token === '>' ? 'x' : token.replace('*', 'x')))
    .join('.');

function matches(pattern: string, subject: string): boolean {
  const [want, is] = [pattern.split('.'), subject.split('.')];
  for (let i = 0; i < want.length; i++) {
    if (want[i] === '>') return is.length > i;
    if (want[i] !== '*' && want[i] !== is[i]) return false;
  }
  return want.length === is.length;
}

/** Collects what the broker refuses to this connection, until it refuses a subject that nobody may use. */
async function refused(nc: NatsConnection, act: () => void): Promise<Set<string>> {
  const found = new Set<string>();
  const seen = (async () => {
    for await (const status of nc.status()) {
      const error = status.type === 'error' ? status.error : undefined;
      if (!(error instanceof PermissionViolationError)) continue;
      if (error.subject === 'nobody.may') return;
      found.add(`${error.operation} ${error.subject}`);
    }
  })();
  act();
  nc.publish('nobody.may');
  await seen;
  return found;
}

for (const service of services) {
  const own = table[service];
  test(`[O02] ${service} may use its own subjects and no others`, async (t) => {
    const others = services.filter((other) => other !== service).map((other) => table[other]);
    const foreign = (kind: 'publish' | 'subscribe'): string[] => [
      ...new Set(
        others
          .flatMap((other) => other[kind].map(example))
          .filter((subject) => !own[kind].some((pattern) => matches(pattern, subject))),
      ),
    ];
    const beyond = {
      publish: [...foreign('publish'), '$JS.API.STREAM.DELETE.LOG', '$SYS.REQ.SERVER.PING'],
      subscribe: [...foreign('subscribe'), '>', '_INBOX.>', 'inbox.>', 'log.>'],
    };
    const nc = await env.nats(service);
    const violations = await refused(nc, () => {
      for (const subject of beyond.publish) nc.publish(subject);
      for (const subject of beyond.subscribe) nc.subscribe(subject, { callback: () => {} });
    });
    t.deepEqual(
      [...violations].sort(),
      [
        ...beyond.publish.map((one) => `publish ${one}`),
        ...beyond.subscribe.map((one) => `subscription ${one}`),
      ].sort(),
    );
    const again = await env.nats(service);
    const none = await refused(again, () => {
      for (const subject of own.subscribe) again.subscribe(subject, { callback: () => {} });
      for (const subject of own.publish.map(example)) again.publish(subject);
    });
    t.deepEqual([...none], []);
  });
}

test('[O02] the broker refuses a wrong or missing password', async (t) => {
  const { connectNats } = await import('../../nats/connect.ts');
  for (const secret of ['wrong', undefined]) {
    const config = { NATS_URL: env.config.NATS_URL, NATS_SECRET: secret };
    await t.throwsAsync(connectNats(config, 'edge', false), { message: /authorization|authentication/i });
  }
});
