/** Everything dies once by SIGKILL under load, and comes back after a while; the broker again and again. */
import { setTimeout as pause } from 'node:timers/promises';
import type { ServiceName } from '../../../shared/lifecycle.ts';
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

const killed = (service: ServiceName, times = 2): Scenario => ({
  name: `kill-${service}`,
  about: `SIGKILL of ${service} under load, ${times} times`,
  async run(stage: Stage, act: Act) {
    for (let i = 0; i < times; i++) {
      await dies(service, stage.get(service), act);
      await act.go(0.15);
    }
  },
});

export const KILL: Scenario[] = [
  killed('ingest'),
  killed('fanout'),
  killed('history'),
  killed('edge'),
  killed('api', 1),
  {
    name: 'kill-nats',
    about: 'SIGKILL of nats-server under load, three times',
    async run(stage, act) {
      for (let i = 0; i < 3; i++) {
        await dies('nats', stage.env.broker, act);
        await act.go(0.15);
      }
    },
  },
  {
    name: 'kill-postgres',
    about: 'SIGKILL of Postgres under load, twice',
    async run(stage, act) {
      for (let i = 0; i < 2; i++) {
        await dies('postgres', stage.env.postgres, act);
        await act.go(0.15);
      }
    },
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
