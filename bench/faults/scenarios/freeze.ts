/** Zombies: a worker is stopped until another one has taken its partitions, then it goes on where it was. */
import { setTimeout as pause } from 'node:timers/promises';
import type { ServiceName } from '../../../shared/service-names.ts';
import type { Act, Scenario, Stage } from '../stage.ts';

const zombie = (service: ServiceName): Scenario => ({
  name: `freeze-${service}`,
  about: `two of ${service}; each in turn is stopped (SIGSTOP) beyond the pin timeout and comes back`,
  async run(stage: Stage, { journal, go }: Act) {
    const second = await stage.add(service, `${service}-2`);
    try {
      const beyond = stage.env.config.PIN_TIMEOUT_MS * 2.5;
      for (const one of [stage.get(service), second]) {
        journal.mark('fault', `SIGSTOP ${service}`);
        one.signal('SIGSTOP');
        await pause(beyond);
        one.signal('SIGCONT');
        journal.mark('healed', service);
        await go(0.2);
      }
    } finally {
      second.signal('SIGCONT');
      await second.stop();
      stage.processes.delete(`${service}-2`);
    }
  },
});

export const FREEZE: Scenario[] = [
  zombie('ingest'),
  zombie('fanout'),
  zombie('history'),
  {
    name: 'freeze-edge',
    about: 'the edge is stopped (SIGSTOP) until its clients give up, and comes back',
    async run(stage, { journal }) {
      journal.mark('fault', 'SIGSTOP edge');
      stage.get('edge').signal('SIGSTOP');
      await pause(5_000);
      stage.get('edge').signal('SIGCONT');
      journal.mark('healed', 'edge');
    },
  },
  {
    name: 'freeze-nats',
    about: 'nats-server is stopped (SIGSTOP) for three seconds',
    async run(stage, { journal }) {
      journal.mark('fault', 'SIGSTOP nats');
      stage.env.broker.signal('SIGSTOP');
      await pause(3_000);
      stage.env.broker.signal('SIGCONT');
      journal.mark('healed', 'nats');
    },
  },
];
