/** Scenarios in which a process is suspended: another worker takes its partitions over, and then it continues as a zombie. */
import { sleep } from '../../../shared/async/sleep.ts';
import type { ServiceName } from '../../../shared/service-names.ts';
import type { FaultSystem } from '../fault-system.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';

const freezeWorker = (service: ServiceName): Scenario => ({
  name: `freeze-${service}`,
  description: `two processes of ${service}: each in turn is suspended (SIGSTOP) for longer than the pin timeout and continues`,
  async run(system: FaultSystem, { journal, loadFor }: ScenarioContext) {
    const second = await system.startProcess(service, `${service}-2`);
    try {
      const suspendMs = system.env.config.PIN_TIMEOUT_MS * 2.5;
      for (const process of [system.processOf(service), second]) {
        journal.mark('fault', `SIGSTOP ${service}`);
        process.signal('SIGSTOP');
        await sleep(suspendMs);
        process.signal('SIGCONT');
        journal.mark('healed', service);
        await loadFor(0.2);
      }
    } finally {
      second.signal('SIGCONT');
      await second.stop();
      system.processes.delete(`${service}-2`);
    }
  },
});

export const FREEZE: Scenario[] = [
  freezeWorker('ingest'),
  freezeWorker('fanout'),
  freezeWorker('history'),
  {
    name: 'freeze-edge',
    description: 'the edge is suspended (SIGSTOP) until its clients give up, and continues',
    async run(system, { journal }) {
      journal.mark('fault', 'SIGSTOP edge');
      system.processOf('edge').signal('SIGSTOP');
      await sleep(5_000);
      system.processOf('edge').signal('SIGCONT');
      journal.mark('healed', 'edge');
    },
  },
  {
    name: 'freeze-nats',
    description: 'nats-server is suspended (SIGSTOP) for three seconds',
    async run(system, { journal }) {
      journal.mark('fault', 'SIGSTOP nats');
      system.env.broker.signal('SIGSTOP');
      await sleep(3_000);
      system.env.broker.signal('SIGCONT');
      journal.mark('healed', 'nats');
    },
  },
];
