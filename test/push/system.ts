/** A system whose push worker is a process of its own, and the push services it speaks to. */
import { vapidKeys } from '../../shared/auth/vapid.ts';
import { Api, QUICK } from '../api/http.ts';
import { type Addresses, type Env, type Spawned, startEnv } from '../env/index.ts';
import { account, Phone } from '../env/people.ts';
import { until } from '../env/until.ts';
import { Apns, Fcm } from './fake-providers.ts';
import { WebPushService } from './fake-web-push.ts';

export class World {
  readonly web: WebPushService;
  readonly fcm: Fcm;
  readonly apns: Apns;
  readonly env: Env;
  readonly at: Addresses;
  readonly api: Api;
  readonly worker: Spawned;

  private constructor(
    { web, fcm, apns }: Pick<World, 'web' | 'fcm' | 'apns'>,
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

  static async start(): Promise<World> {
    const [web, fcm, apns] = [new WebPushService(), new Fcm(), new Apns()];
    await Promise.all([web.open(), fcm.open(), apns.open()]);
    const env = await startEnv({
      ...QUICK,
      ...{ AWAY_GRACE_MS: 100, PUSH_DELAY_MS: 300, PRESENCE_LEASE_MS: 15_000, PUSH_ALLOW_CIDRS: ['127.0.0.0/8'] },
      ...{ FCM_URL: fcm.url, FCM_SERVICE_ACCOUNT_JSON: fcm.account },
      ...{ APNS_URL: apns.url, APNS_KEY: apns.key, APNS_KEY_ID: 'KEY1234567' },
      ...{ APNS_TEAM_ID: 'TEAM123456', APNS_TOPIC: 'org.example.app' },
    });
    const at = await env.start('history', 'fanout', 'ingest', 'api', 'edge');
    const worker = await env.spawn('push');
    web.publicKey = (await vapidKeys(env.db, env.config)).public_key;
    return new World({ web, fcm, apns }, env, at, worker);
  }

  async stop(): Promise<void> {
    await this.env.stop();
    await Promise.all([this.web.close(), this.fcm.close(), this.apns.close()]);
  }

  phone = async (): Promise<Phone> => new Phone(await account(this.at), this.at.edgeUrl);

  async putPush({ device }: Phone, body: Record<string, unknown>) {
    return await this.api.ask('push.targets.put', { id: device.id, token: device.session.access_token, body });
  }

  /** A phone that a browser wakes. */
  async subscribed(): Promise<{
    bob: Phone;
    got: string[];
    browser: ReturnType<WebPushService['subscribe']>['browser'];
  }> {
    const bob = await this.phone();
    const { browser, endpoint, keys } = this.web.subscribe();
    await this.putPush(bob, { provider: 'webpush', endpoint, keys });
    return { bob, got: browser.got, browser };
  }

  /** Everything that is due for the device was looked at, and nothing is under way: what came for another one later is out. */
  async quiet({ device }: Phone): Promise<void> {
    await this.env.settle();
    const { bob, got } = await this.subscribed();
    const alice = await (await this.phone()).up();
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
  left({ device }: Phone): Promise<void> {
    const gone = 'select 1 from device_presence where device_id = $1 and edge_id is null';
    return until(async () => (await this.env.db.query(gone, [device.id])).length === 1);
  }
}
