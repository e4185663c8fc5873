/**
 * ingest: INGRESS → LOG. The one numberer of each partition's conversations. Takes what has arrived, decides it in
 * order, appends it as one entry, and only then answers. One append per partition is in flight; what arrives meanwhile
 * is the next entry.
 */
import { Kvm } from '@nats-io/kv';
import type { NatsConnection } from 'nats';
import { type Delivered, Retake, Writer } from '../../nats/consume.ts';
import { logHead, readLog } from '../../nats/log.ts';
import { PublishError, Publisher } from '../../nats/publish.ts';
import { earliest } from '../../nats/standing.ts';
import { consumer, FULL_BUCKET, INGRESS, LOG, streams } from '../../nats/topology.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/lifecycle.ts';
import { decodeCommands, type Incoming, type Reply } from '../../shared/pipeline/commands.ts';
import { Decider, type Decision } from './handle.ts';
import { Memory, Partition } from './memory.ts';
import { openStore, paymentKey, type Store, sentKey } from './store.ts';

type Batch = ReturnType<typeof decodeCommands>;
/** An entry is closed when it has grown to this, well below the broker's max_payload. */
const ENTRY_BYTES = 2 << 20;
const WINDOW = 512;

async function open(context: Context): Promise<Service> {
  const { config, log, metrics } = context;
  const nc = await context.connect('ingest');
  const store = openStore(context.db);
  const publisher = new Publisher(nc);
  const memory = new Memory(config.DEDUPE_WINDOW);
  const ingress = streams(config).find(({ config: { name } }) => name === INGRESS)!;

  nc.subscribe('people.*', {
    callback: (_, message) => memory.forget(message.subject.slice('people.'.length)),
  });
  nc.subscribe('projected.*', {
    callback: (_, message) =>
      memory.setProjected(
        Number(message.subject.slice('projected.'.length)),
        (message.json() as { entry_seq: number }).entry_seq,
      ),
  });
  await watchFull(nc, memory);

  const writers = ingress.consumers.map((spec, number) => {
    const worker = new Ingest(nc, publisher, number, store, memory, context);
    return new Writer(nc, {
      stage: 'ingest',
      partition: number,
      stream: INGRESS,
      ensure: ingress.config,
      consumer: ingress.consumers.find(({ durable_name }) => durable_name === consumer.ingest(number)) ?? spec,
      window: WINDOW,
      stuckMs: config.READY_STUCK_MS,
      log,
      metrics,
      takeOver: () => worker.takeOver(),
      decode: decodeCommands,
      handle: (batch) => worker.handle(batch),
    });
  });
  return {
    ready: () => writers.map((writer) => writer.ready()).find((state) => state !== true) ?? true,
    brokerRefusesSince: () => earliest(publisher.refusesSince, ...writers.map((writer) => writer.refusedSince)),
    close: async () => {
      await Promise.all(writers.map((writer) => writer.close()));
      publisher.close();
      await nc.drain();
    },
  };
}

/** Keeps `memory.full` as the bucket says; fanout writes it. */
async function watchFull(nc: NatsConnection, memory: Memory): Promise<void> {
  const bucket = await new Kvm(nc).open(FULL_BUCKET);
  const changes = await bucket.watch();
  void (async () => {
    for await (const { key, operation } of changes) {
      if (operation === 'PUT') memory.full.add(key);
      else memory.full.delete(key);
    }
  })();
}

class Ingest {
  readonly #nc: NatsConnection;
  readonly #publisher: Publisher;
  readonly #partition: Partition;
  readonly #store: Store;
  readonly #memory: Memory;
  readonly #decider: Decider;
  readonly #metrics: Context['metrics'];
  readonly #log: Context['log'];

  constructor(
    nc: NatsConnection,
    publisher: Publisher,
    number: number,
    store: Store,
    memory: Memory,
    { config, metrics, log }: Context,
  ) {
    this.#nc = nc;
    this.#publisher = publisher;
    this.#store = store;
    this.#memory = memory;
    this.#metrics = metrics;
    this.#log = log;
    this.#partition = new Partition(number, memory);
    this.#decider = new Decider(this.#partition, memory, config);
  }

  /** State of the partition = the projection in Postgres and what the log holds beyond it. */
  async takeOver(): Promise<undefined> {
    const { number } = this.#partition;
    const { head, created } = await logHead(this.#nc, number);
    const projection = await this.#store.position(number);
    const position = projection?.stream === created ? Math.min(projection.entry_seq, head) : 0;
    this.#partition.reset(head, position);
    for await (const { seq, data } of readLog(this.#nc, number, position, head)) {
      try {
        this.#partition.replay(seq, data);
      } catch (error) {
        // fanout and history make it a dead letter; it can't hold anything of ours.
        this.#log.warn(
          { stage: 'ingest', partition: number, entry: seq, reason: String(error) },
          'an entry can not be read',
        );
      }
    }
  }

  async handle(batch: Delivered<Batch>[]): Promise<void> {
    const incoming: [Incoming, string][] = [];
    for (const { value } of batch) for (const command of value.commands) incoming.push([command, value.reply]);
    await this.#load(incoming);
    for (let next = 0; next < incoming.length; ) next = await this.#append(incoming, next);
    this.#metrics.batch.observe({ stage: 'ingest' }, incoming.length);
  }

  async #append(incoming: [Incoming, string][], from: number): Promise<number> {
    const decisions: Decision[] = [];
    this.#decider.begin(Date.now());
    let next = from;
    for (; next < incoming.length && this.#decider.entry.bytes < ENTRY_BYTES; next++)
      decisions.push(this.#decider.decide(...incoming[next]!));
    const { entry } = this.#decider;
    if (entry.count) {
      try {
        this.#partition.head = await this.#publisher.append(
          this.#partition.number,
          this.#partition.head,
          entry.finish(),
        );
      } catch (error) {
        if (error instanceof PublishError) throw new Retake(`${LOG}: ${(error as Error).message}`);
        throw error;
      }
      this.#settle(incoming, from, next);
    }
    this.#answer(decisions);
    return next;
  }

  /** What this entry changed is durable as of `head`. */
  #settle(incoming: [Incoming, string][], from: number, to: number): void {
    const { head, conversations } = this.#partition;
    for (let i = from; i < to; i++) {
      const { command } = incoming[i]![0];
      const conversation = conversations.get(command.conversation_id);
      if (conversation?.entry === Number.POSITIVE_INFINITY) conversation.entry = head;
      if (command.kind === 'payment') {
        const payment = this.#partition.payments.get(paymentKey(command.conversation_id, command.request_id));
        if (payment?.entry === Number.POSITIVE_INFINITY) payment.entry = head;
      }
      if (command.kind !== 'send') continue;
      const seen = this.#memory.seen.get(sentKey(command.user_id, command.client_message_id));
      if (seen?.entry === Number.POSITIVE_INFINITY && seen.partition === this.#partition.number) seen.entry = head;
    }
  }

  #answer(decisions: Decision[]): void {
    const replies = new Map<string, Required<Omit<Reply, 'sent'>>>();
    let refused = 0;
    for (const { tag, reply, answer, error } of decisions) {
      let to = replies.get(reply);
      if (!to) {
        to = { answers: [], errors: [] };
        replies.set(reply, to);
      }
      if (answer) to.answers.push([tag, ...answer]);
      else {
        to.errors.push([tag, error!.toJSON()]);
        refused++;
      }
    }
    for (const [reply, said] of replies) this.#nc.publish(reply, JSON.stringify(said));
    this.#metrics.records.inc({ stage: 'ingest', outcome: 'ok' }, decisions.length - refused);
    if (refused) this.#metrics.records.inc({ stage: 'ingest', outcome: 'refused' }, refused);
  }

  /** One query of each kind for everything that this batch asks about and memory does not know. */
  async #load(incoming: [Incoming, string][]): Promise<void> {
    const conversations = new Set<string>();
    const people = new Set<string>();
    const payments: [string, string][] = [];
    for (const [{ command }] of incoming) {
      conversations.add(command.conversation_id);
      if (command.kind === 'send') people.add(command.user_id);
      if (command.kind === 'payment') payments.push([command.conversation_id, command.request_id]);
      if ('to' in command && command.to) people.add(command.to);
      if (command.kind === 'create') for (const user of command.member_ids) people.add(user);
    }
    await Promise.all([
      this.#memory.loadPeople(this.#store, people),
      this.#partition.load(this.#store, conversations),
      payments.length && this.#partition.loadPayments(this.#store, payments),
    ]);
    const doubtful: [string, string][] = [];
    for (const [{ command }] of incoming) {
      if (command.kind !== 'send' || this.#memory.seen.has(sentKey(command.user_id, command.client_message_id)))
        continue;
      const person = this.#memory.people.get(command.user_id);
      if (!person || command.client_message_id <= person.greatest)
        doubtful.push([command.user_id, command.client_message_id]);
    }
    this.#decider.old = doubtful.length ? await this.#store.accepted(doubtful) : new Map();
    // Who seals for each device is held against the devices of all members. Last, so that they are as they are now.
    for (const [{ command }] of incoming) {
      if (command.kind !== 'send' || !command.envelopes) continue;
      const members = this.#partition.conversations.get(command.conversation_id)?.members.keys();
      for (const user of members ?? []) people.add(user);
    }
    this.#decider.people = await this.#memory.loadPeople(this.#store, people);
  }
}

const definition: ServiceDefinition = { name: 'ingest', about: 'numbers conversations: INGRESS to LOG', open };
export default definition;
