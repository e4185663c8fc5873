/** A whole system with webhooks: the sender of deliveries in this process, on a clock that a test may move. */
import { jetstreamManager } from '@nats-io/jetstream';
import { connectNats } from '../../nats/connect.ts';
import { readDirectBatch } from '../../nats/log-reader.ts';
import { EVENTS } from '../../nats/topology.ts';
import { open, type WebhookOptions } from '../../services/webhook/index.ts';
import { adminToken } from '../../shared/auth/derived.ts';
import type { Config } from '../../shared/config/index.ts';
import type { LoggedIn } from '../../shared/contract/http/auth.ts';
import type { BodyOf } from '../../shared/contract/http/routes.ts';
import { uuid7 } from '../../shared/ids.ts';
import { createLog } from '../../shared/log.ts';
import { createMetrics } from '../../shared/metrics.ts';
import { decodeEvents, type Event } from '../../shared/pipeline/events.ts';
import type { Service } from '../../shared/service.ts';
import type { ServiceName } from '../../shared/service-names.ts';
import { Api, QUICK_HASHING } from '../api/http.ts';
import { type Env, startEnv } from '../env/index.ts';
import { PATIENCE_MS } from '../env/until.ts';
import { Receiver } from './receiver.ts';

const SETTINGS = {
  ...QUICK_HASHING,
  WEBHOOK_ALLOW_CIDRS: ['127.0.0.0/8'],
  WEBHOOK_TIMEOUT_SEC: 15,
  WEBHOOK_RETRY_JITTER_PERCENT: 0,
};

/** Reads everything in EVENTS, in its order. */
export async function readEvents(env: Env, check: (subject: string) => void = () => {}): Promise<Event[]> {
  const nc = await env.nats('admin');
  const manager = await jetstreamManager(nc);
  const out: Event[] = [];
  for (let seq = 1, got = 1; got > 0; ) {
    got = 0;
    for await (const message of readDirectBatch(manager, EVENTS, { seq, batch: 500 })) {
      check(message.subject);
      out.push(...decodeEvents(message.data));
      seq = message.seq + 1;
      got++;
    }
  }
  await nc.close();
  return out;
}

/** A clock that runs, stops and jumps ahead as a test says. */
export class Clock {
  #ahead = 0;
  #stopped: number | undefined;
  readonly now = (): number => (this.#stopped ?? Date.now()) + this.#ahead;
  freeze(): void {
    this.#stopped = Date.now();
  }
  resume(): void {
    this.#stopped = undefined;
  }
  advance(ms: number): void {
    this.#ahead += ms;
  }
}

export class WebhookSystem {
  readonly env: Env;
  readonly api: Api;
  readonly admin: string;
  readonly clock = new Clock();
  #webhook: Service | undefined;

  private constructor(env: Env, api: Api) {
    this.env = env;
    this.api = api;
    this.admin = adminToken(env.config);
  }

  /** Everything but `webhook`, unless said otherwise. */
  static async start(
    overrides: Partial<Config> = {},
    services: ServiceName[] = ['events', 'history', 'fanout', 'ingest', 'api'],
  ): Promise<WebhookSystem> {
    const env = await startEnv({ ...SETTINGS, ...overrides });
    const { apiUrl } = await env.start(...services);
    return new WebhookSystem(env, new Api(apiUrl));
  }

  /** Runs the sender here. */
  async startSender(world: WebhookOptions = {}): Promise<void> {
    const { config, db } = this.env;
    const context = {
      config,
      db,
      log: createLog(config),
      metrics: createMetrics(),
      services: new Map(),
      connect: () => connectNats(config, 'webhook'),
    };
    this.#webhook = await open(context, { now: this.clock.now, ...world });
  }

  async closeSender(): Promise<void> {
    await this.#webhook?.close();
    this.#webhook = undefined;
  }

  async stop(): Promise<void> {
    await Receiver.closeAll();
    await this.closeSender();
    await this.env.stop();
  }

  createEndpoint = async (body: BodyOf<'webhooks.endpoints.create'>) => {
    const { data, error } = await this.api.ask('webhooks.endpoints.create', { token: this.admin, body });
    if (error) throw new Error(error.message);
    return { ...data, secret: data.secret! };
  };

  /** Two people in a conversation of their own. */
  async startConversation(): Promise<{
    a: LoggedIn;
    b: LoggedIn;
    conversation: string;
    say: (payload?: string) => Promise<string>;
  }> {
    const [a, b] = [await this.api.register(), await this.api.register()];
    const { data } = await this.api.ask('conversations.createDirect', {
      token: a.access_token,
      body: { user_id: b.user.id },
    });
    const conversation = data.id;
    // So that an endpoint that is made now hears of none of this.
    await this.env.settle(PATIENCE_MS, ...(this.#webhook ? (['webhook'] as const) : []));
    const say = async (payload = 'c2VhbGVk'): Promise<string> => {
      const body = { client_message_id: uuid7(), payload };
      const sent = await this.api.ask('messages.send', { token: a.access_token, id: conversation, body });
      return sent.data.message_id;
    };
    return { a, b, conversation, say };
  }

  /** Resolves once no delivery of the endpoint is in this state any more. */
  async waitUntilNone(endpoint_id: string, status = 'pending', timeoutMs = PATIENCE_MS): Promise<void> {
    await this.until(async () => {
      const [row] = await this.env.db.query<{ n: number }>(
        'select count(*) as n from webhook_deliveries where endpoint_id = $1 and status = $2',
        [endpoint_id, status],
      );
      return row!.n === 0;
    }, timeoutMs);
  }

  /** What dead senders hold, as if they had claimed it that much earlier: their claims end soon. */
  async expireClaims(sec = this.env.config.WEBHOOK_TIMEOUT_SEC): Promise<void> {
    await this.env.db.query(
      'update webhook_deliveries set next_at = next_at - make_interval(secs => $1) where claim is not null',
      [sec],
    );
  }

  async until(ready: () => Promise<boolean>, timeoutMs = PATIENCE_MS): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!(await ready())) {
      if (Date.now() > deadline) throw new Error('it does not come to that');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
