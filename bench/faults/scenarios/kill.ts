/** Scenarios in which every service and both engines are killed with SIGKILL under load and restarted. */
import { sleep } from '../../../shared/async/sleep.ts';
import type { ServiceName } from '../../../shared/service-names.ts';
import type { FaultSystem } from '../fault-system.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';

/** Time from the kill to the restart. */
const DOWN_MS = 500;

interface Killable {
  kill9(): Promise<void>;
  restart(): Promise<void>;
}

async function killAndRestart(name: string, process: Killable, { journal }: ScenarioContext): Promise<void> {
  journal.mark('fault', `SIGKILL ${name}`);
  await process.kill9();
  await sleep(DOWN_MS);
  await process.restart();
  journal.mark('healed', name);
}

/** Kills each process in turn, once, and once more for every three seconds of load. */
async function killRepeatedly(name: string, processes: Killable[], context: ScenarioContext): Promise<void> {
  for (let rounds = 1 + Math.floor(context.seconds / 3); rounds > 0; rounds--) {
    for (const process of processes) {
      await killAndRestart(name, process, context);
      await context.loadFor(0.15);
    }
  }
}

const killService = (service: ServiceName): Scenario => ({
  name: `kill-${service}`,
  description: `SIGKILL of ${service} under load, again and again`,
  run: (system: FaultSystem, context: ScenarioContext) => killRepeatedly(service, system.processesOf(service), context),
});

export const KILL: Scenario[] = [
  killService('ingest'),
  killService('fanout'),
  killService('history'),
  killService('edge'),
  killService('api'),
  {
    name: 'kill-nats',
    description: 'SIGKILL of nats-server under load, again and again',
    run: (system, context) => killRepeatedly('nats', [system.env.broker], context),
  },
  {
    name: 'kill-postgres',
    description: 'SIGKILL of Postgres under load, again and again',
    run: (system, context) => killRepeatedly('postgres', [system.env.postgres], context),
  },
  {
    name: 'kill-all',
    description: 'SIGKILL of every service and both engines at once',
    async run(system, { journal }) {
      const { broker, postgres } = system.env;
      journal.mark('fault', 'SIGKILL everything');
      const all = [...system.processes.values()];
      await Promise.all([...all, broker, postgres].map((target) => target.kill9()));
      await Promise.all([broker.restart(), postgres.restart()]);
      await Promise.all(all.map((target) => target.restart()));
      journal.mark('healed', 'everything');
    },
  },
  {
    name: 'rolling-restart',
    description: 'SIGTERM and restart of every service, one after the other',
    async run(system, { journal, loadFor }) {
      journal.mark('fault', 'rolling restart');
      for (const process of system.processes.values()) {
        await process.restart();
        await loadFor(0.05);
      }
      journal.mark('healed', 'rolling restart');
    },
  },
];
