/** A system whose push worker is a process of its own, and the push services it speaks to. */
import { vapidKeys } from '../../shared/auth/vapid.ts';
import { Api, QUICK_HASHING } from '../api/http.ts';
import { type Addresses, type Env, type Spawned, startEnv } from '../env/index.ts';
import { registerPerson, TestDevice } from '../env/people.ts';
import { until } from '../env/until.ts';
import { FakeApns, FakeFcm } from './fake-providers.ts';
import { FakeWebPushService } from './fake-web-push.ts';

export class PushSystem {
  readonly web: FakeWebPushService;
  readonly fcm: FakeFcm;
  readonly apns: FakeApns;
  readonly env: Env;
  readonly at: Addresses;
  readonly api: Api;
  readonly worker: Spawned;

  private constructor(
    { web, fcm, apns }: Pick<PushSystem, 'web' | 'fcm' | 'apns'>,
    env: Env,
    at: Addresses,
    worker: Spawned,
  ) {
    this.web = web;
    this.fcm = fcm;
    this.apns = apns;
    this.env = env;
    this.at = at;
    this.api = new Api(at.apiUrl);
    this.worker = worker;
  }

  static async start(): Promise<PushSystem> {
    const [web, fcm, apns] = [new FakeWebPushService(), new FakeFcm(), new FakeApns()];
    await Promise.all([web.open(), fcm.open(), apns.open()]);
    const env = await startEnv({
      ...QUICK_HASHING,
      ...{ AWAY_GRACE_MS: 100, PUSH_DELAY_MS: 300, PRESENCE_LEASE_MS: 15_000, PUSH_ALLOW_CIDRS: ['127.0.0.0/8'] },
      ...{ FCM_URL: fcm.url, FCM_SERVICE_ACCOUNT_JSON: fcm.account },
      ...{ APNS_URL: apns.url, APNS_KEY: apns.key, APNS_KEY_ID: 'KEY1234567' },
      ...{ APNS_TEAM_ID: 'TEAM123456', APNS_TOPIC: 'org.example.app' },
    });
    const at = await env.start('history', 'fanout', 'ingest', 'api', 'edge');
    const worker = await env.spawn('push');
    web.publicKey = (await vapidKeys(env.db, env.config)).public_key;
    return new PushSystem({ web, fcm, apns }, env, at, worker);
  }

  async stop(): Promise<void> {
    await this.env.stop();
    await Promise.all([this.web.close(), this.fcm.close(), this.apns.close()]);
  }

  createDevice = async (): Promise<TestDevice> => new TestDevice(await registerPerson(this.at), this.at.edgeUrl);

  async putPush({ device }: TestDevice, body: Record<string, unknown>) {
    return await this.api.ask('push.targets.put', { id: device.id, token: device.session.access_token, body });
  }

  /** A phone that a browser wakes. */
  async createSubscribedDevice(): Promise<{
    bob: TestDevice;
    got: string[];
    browser: ReturnType<FakeWebPushService['subscribe']>['browser'];
  }> {
    const bob = await this.createDevice();
    const { browser, endpoint, keys } = this.web.subscribe();
    await this.putPush(bob, { provider: 'webpush', endpoint, keys });
    return { bob, got: browser.received, browser };
  }

  /** Everything that is due for the device was looked at, and nothing is under way: what came for another one later is out. */
  async waitUntilQuiet({ device }: TestDevice): Promise<void> {
    await this.env.settle();
    const { bob, got } = await this.createSubscribedDevice();
    const alice = await (await this.createDevice()).connect();
    await alice.send(bob, 'later than anything before');
    await until(() => got.length === 1);
    await alice.device.close();
    await until(async () => {
      const rows = await this.env.db.query(
        "select 1 from push_states where device_id = $1 and next_at < now() + interval '2 minutes'",
        [device.id],
      );
      return rows.length === 0;
    });
  }

  /** Postgres knows that it has left. */
  waitUntilAway({ device }: TestDevice): Promise<void> {
    const gone = 'select 1 from device_presence where device_id = $1 and edge_id is null';
    return until(async () => (await this.env.db.query(gone, [device.id])).length === 1);
  }
}
