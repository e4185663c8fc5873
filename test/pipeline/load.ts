/** A steady load between two people with a fault in the middle. */
import { setTimeout } from 'node:timers/promises';
import type { Gateway } from '../../nats/gateway.ts';
import type { ApiError } from '../../shared/contract/errors.ts';
import type { Answer } from '../../shared/pipeline/commands.ts';
import type { Env } from '../env/index.ts';
import { insertPerson } from '../env/people.ts';
import { directMessage } from './inbox.ts';

const LANES = 20;

export interface LoadResult {
  answers: Answer[];
  /** The user who got them. */
  to: string;
  /** The most messages that may not have been in the recipient's inbox yet when the fault struck. */
  inFlight: number;
}

/**
 * Twenty senders at a time, each sends one message after the other. The fault begins when `half(answered)` says so, and
 * the load ends when `done(answered)` does and the fault is over. A fault that strikes later than it begins calls
 * `strikes` then.
 */
export async function runLoad(
  env: Env,
  gateway: Gateway,
  fault: (strikes: () => void) => Promise<void>,
  { half, done }: { half(answered: number): boolean; done(answered: number): boolean },
): Promise<LoadResult> {
  const [a, b] = [await insertPerson(env), await insertPerson(env)];
  const answers: Answer[] = [];
  const unsent = new Set<string>();
  let inFlight = 0;
  let broken: Promise<void> | undefined;
  let over = false;

  const strikes = (): void => {
    inFlight = Math.max(inFlight, unsent.size);
  };
  const send = async (): Promise<Answer> => {
    const command = directMessage(a, b);
    const id = command.client_message_id;
    unsent.add(id);
    for (;;) {
      try {
        return await new Promise<Answer>((answered, failed) =>
          gateway.submit(command, Buffer.from('"x"'), { answered, failed, sent: () => unsent.delete(id) }),
        );
      } catch (error) {
        // As devices do when told to: the same message again.
        if ((error as ApiError).code !== 'unavailable') throw error;
      }
    }
  };
  // Senders that go in step are answered at one time, with nothing in flight: at any other moment, then.
  const strike = async (): Promise<void> => {
    await setTimeout(Math.random() * 10);
    strikes();
    await fault(strikes);
  };
  const lane = async (): Promise<void> => {
    while (!over || !done(answers.length)) {
      answers.push(await send());
      if (broken || !half(answers.length)) continue;
      broken = strike().finally(() => {
        over = true;
      });
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  await broken;
  return { answers, to: b.user, inFlight };
}

/** Load for so long, with the fault in the middle. */
export function loadForMs(ms: number): { half(): boolean; done(): boolean } {
  const begun = performance.now();
  const after = (part: number) => () => performance.now() - begun > part;
  return { half: after(ms / 2), done: after(ms) };
}

/** Load of so many messages at least, with the fault after half of them. */
export const loadOfMessages = (n: number): { half(answered: number): boolean; done(answered: number): boolean } => ({
  half: (answered) => answered >= n / 2,
  done: (answered) => answered >= n,
});
