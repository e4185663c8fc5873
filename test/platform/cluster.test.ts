/** `npm run nats-conf` writes the configuration of each node of a cluster. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { natsConfFromEnv } from '../../nats/conf.ts';
import { connectNats } from '../../nats/connect.ts';
import { provisionBroker } from '../../nats/provisioning/broker.ts';
import { waitFor } from '../../shared/async/wait-for.ts';
import { readConfig } from '../../shared/config/index.ts';
import { Cluster } from '../env/cluster.ts';

test('[O02] three nodes form a cluster with three replicas per stream that survives the loss of a leader', async (t) => {
  const cut = { PARTITIONS: 1, INBOX_SHARDS: 1 };
  const cluster = await Cluster.start(cut);
  try {
    const config = {
      ...readConfig({}),
      ...cut,
      STREAM_REPLICAS: 3,
      NATS_URL: cluster.url,
      NATS_SECRET: cluster.secret,
    };
    await provisionBroker(config);
    t.deepEqual(await provisionBroker(config), [], 'provisioning again changes nothing');
    const nc = await connectNats(config, 'admin');
    const jsm = await jetstreamManager(nc, { timeout: 10_000 });
    for (const stream of ['LOG', 'INGRESS', 'INBOX_00', 'KV_lineage']) {
      const { config: have, cluster: at } = await jsm.streams.info(stream);
      t.is(have.num_replicas, 3, stream);
      t.is(at?.replicas?.length, 2, stream);
    }
    await jetstream(nc).publish('dead.test', 'one');
    const leader = await cluster.leaderOf('DEAD');
    await cluster.kill9(leader);
    // The message id makes it one message, however many attempts it takes until another node leads.
    const again = { msgID: 'two' };
    t.is(await waitFor(async () => (await jetstream(nc).publish('dead.test', 'two', again)).seq, 60_000), 2);
    const next = await waitFor(async () => {
      const now = await cluster.leaderOf('DEAD');
      return now === leader ? undefined : now;
    }, 60_000);
    t.true(cluster.names.includes(next));
    await cluster.restart(leader);
    t.is((await jsm.streams.info('DEAD')).state.messages, 2);
    await nc.close();
  } finally {
    await cluster.stop();
  }
});

test('[O02] an incomplete configuration of a node is refused with the name of the missing variable', (t) => {
  const env = {
    NATS_SECRET: 's',
    NATS_CLUSTER_NAME: 'sealwire',
    NATS_SERVER_NAME: 'a',
    NATS_CLUSTER_ROUTES: 'a:6222,b:6222',
  };
  const conf = natsConfFromEnv(env);
  t.regex(conf, /^server_name: "a"$/m);
  t.regex(conf, /^ {2}listen: "0\.0\.0\.0:6222"$/m);
  t.is(conf.match(/nats-route:\/\/route:[0-9a-f]{64}@[ab]:6222/g)?.length, 2);
  t.throws(() => natsConfFromEnv({ ...env, NATS_SERVER_NAME: '' }), { message: /NATS_SERVER_NAME is not set/ });
  t.throws(() => natsConfFromEnv({ ...env, NATS_CLUSTER_ROUTES: '' }), { message: /NATS_CLUSTER_ROUTES must be/ });
  t.throws(() => natsConfFromEnv({ ...env, NATS_CLUSTER_ROUTES: 'a' }), { message: /; a is not/ });
  t.throws(() => natsConfFromEnv({ ...env, NATS_CLUSTER_NAME: '' }), { message: /NATS_CLUSTER_NAME is not/ });
  t.notRegex(natsConfFromEnv({ NATS_SECRET: 's' }), /cluster/);
});

test('[O02] the help of nats-conf names the variables of a cluster', async (t) => {
  const command = fileURLToPath(new URL('../../nats/conf.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [command, '--help']);
  for (const name of ['NAME', 'LISTEN', 'ROUTES']) t.true(stdout.includes(`NATS_CLUSTER_${name}`));
  t.true(stdout.includes('NATS_SERVER_NAME'));
});
