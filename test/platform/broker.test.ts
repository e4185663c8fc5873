/** A broker that lost its streams in memory is completed while services run. */
import { join } from 'node:path';
import test from 'ava';
import { startNats } from '../../services/local/nats.ts';
import { openSecrets } from '../../services/local/secrets.ts';
import { waitFor } from '../../shared/async/wait-for.ts';
import { startEnv } from '../env/index.ts';

test('[O02] a broker that restarts without provisioning is completed by the services that need it', async (t) => {
  const env = await startEnv();
  await env.start('ingest', 'fanout', 'history');
  const port = Number(new URL(env.broker.url).port);
  await env.broker.kill9();
  // As a container would: only the server restarts, and INGRESS is lost with its memory.
  const bare = await startNats({ config: env.config, dir: join(env.dir, 'nats'), secrets: openSecrets(env.dir), port });
  try {
    t.true(await waitFor(() => env.settle(5_000).then(() => true as const), 90_000, 100));
  } finally {
    await env.close('ingest');
    await bare.close();
    await env.stop();
  }
});
