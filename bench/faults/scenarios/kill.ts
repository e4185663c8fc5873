/** Everything dies once by SIGKILL under load, and comes back after a while; the broker again and again. */
import { setTimeout as pause } from 'node:timers/promises';
import type { ServiceName } from '../../../shared/service-names.ts';
import type { Act, Scenario, Stage } from '../stage.ts';

/** How long it stays away, milliseconds. */
const AWAY_MS = 500;

async function dies(name: string, one: { kill9(): Promise<void>; restart(): Promise<void> }, { journal }: Act) {
  journal.mark('fault', `SIGKILL ${name}`);
  await one.kill9();
  await pause(AWAY_MS);
  await one.restart();
  journal.mark('healed', name);
}

/** Each of them in turn: once in a short run, once more for every three seconds of load. */
async function again(name: string, all: Parameters<typeof dies>[1][], act: Act): Promise<void> {
  for (let left = 1 + Math.floor(act.seconds / 3); left > 0; left--) {
    for (const one of all) {
      await dies(name, one, act);
      await act.go(0.15);
    }
  }
}

const killed = (service: ServiceName): Scenario => ({
  name: `kill-${service}`,
  about: `SIGKILL of ${service} under load, again and again`,
  run: (stage: Stage, act: Act) => again(service, stage.all(service), act),
});

export const KILL: Scenario[] = [
  killed('ingest'),
  killed('fanout'),
  killed('history'),
  killed('edge'),
  killed('api'),
  {
    name: 'kill-nats',
    about: 'SIGKILL of nats-server under load, again and again',
    run: (stage, act) => again('nats', [stage.env.broker], act),
  },
  {
    name: 'kill-postgres',
    about: 'SIGKILL of Postgres under load, again and again',
    run: (stage, act) => again('postgres', [stage.env.postgres], act),
  },
  {
    name: 'kill-all',
    about: 'SIGKILL of every service and both engines at once',
    async run(stage, { journal }) {
      const { broker, postgres } = stage.env;
      journal.mark('fault', 'SIGKILL everything');
      const all = [...stage.processes.values()];
      await Promise.all([...all, broker, postgres].map((one) => one.kill9()));
      await Promise.all([broker.restart(), postgres.restart()]);
      await Promise.all(all.map((one) => one.restart()));
      journal.mark('healed', 'everything');
    },
  },
  {
    name: 'rolling-restart',
    about: 'SIGTERM and restart of every service, one after the other',
    async run(stage, act) {
      act.journal.mark('fault', 'rolling restart');
      for (const one of stage.processes.values()) {
        await one.restart();
        await act.go(0.05);
      }
      act.journal.mark('healed', 'rolling restart');
    },
  },
];
