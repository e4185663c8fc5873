/** Provisioning works, or says what to do, on a broker with little disk space. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { connectNats } from '../../nats/connect.ts';
import { provisionBroker } from '../../nats/provisioning/broker.ts';
import { startNats } from '../../services/local/nats.ts';
import { openSecrets } from '../../services/local/secrets.ts';
import { type Config, readConfig } from '../../shared/config/index.ts';
import { type Env, startEnv } from '../env/index.ts';

let env: Env;
test.before(async () => {
  env = await startEnv();
});
test.after.always(() => env?.stop());

/** Runs a broker with this limit and gives its default configuration to `work`. */
async function onDisk(size: string, more: Partial<Config>, work: (config: Config) => Promise<void>): Promise<void> {
  const dir = join(env.dir, `small-${size}`);
  mkdirSync(dir);
  const secrets = openSecrets(dir, 'fast');
  const config: Config = { ...readConfig({}), DURABILITY: 'fast', NATS_MAX_FILE_STORE: size, ...more };
  const broker = await startNats({ config, dir: join(dir, 'nats'), secrets });
  try {
    await work({ ...config, NATS_URL: broker.url, NATS_SECRET: secrets.nats });
  } finally {
    await broker.close();
  }
}

test.serial('[O01] the streams’ reservations fit into 400 MB', async (t) => {
  await onDisk('400MB', {}, async (config) => {
    t.true((await provisionBroker(config)).length > 10);
    t.deepEqual(await provisionBroker(config), []);
  });
});

test.serial(
  '[O01] a broker without room is refused with the stream, its reservation and the setting to change',
  async (t) => {
    await onDisk('200MB', {}, async (config) => {
      await t.throwsAsync(provisionBroker(config), {
        message:
          /no room for stream PAYMENTS, which reserves 256 MiB .*NATS_MAX_FILE_STORE.*smaller PAYMENTS_MAX_BYTES/,
      });
      t.true((await provisionBroker({ ...config, PAYMENTS_MAX_BYTES: 1 << 20 })).length > 0);
    });
  },
);

test.serial(
  '[O02] a smaller byte limit is accepted while the stream fits into it, and refused otherwise',
  async (t) => {
    await onDisk('300MB', { PAYMENTS_MAX_BYTES: 8 << 20, DEAD_MAX_BYTES: 8 << 20 }, async (config) => {
      await provisionBroker(config);
      t.deepEqual(await provisionBroker({ ...config, DEAD_MAX_BYTES: 4 << 20 }), ['updated stream DEAD: max_bytes']);
      const nc = await connectNats(config, 'admin');
      for (let i = 0; i < 3; i++) await nc.request('dead.test', Buffer.alloc(1 << 20));
      t.true((await (await jetstreamManager(nc)).streams.info('DEAD')).state.bytes > 3 << 20);
      await nc.close();
      await t.throwsAsync(provisionBroker({ ...config, DEAD_MAX_BYTES: 2 << 20 }), {
        message: /DEAD, field max_bytes/,
      });
    });
  },
);
