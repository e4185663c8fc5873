/** The tools of shared/async keep their promises about concurrency. */
import test from 'ava';
import { LruMap } from '../../shared/async/lru-map.ts';
import { startPeriodicTask } from '../../shared/async/periodic-task.ts';
import { Semaphore } from '../../shared/async/semaphore.ts';
import { serializedByKey, singleFlight } from '../../shared/async/single-flight.ts';
import { UnrecoverableError, waitFor } from '../../shared/async/wait-for.ts';

/** A task that counts its runs and ends when the test says so. */
function heldTask() {
  const ends: ((error?: Error) => void)[] = [];
  const begun: (() => void)[] = [];
  let runs = 0;
  return {
    run: () =>
      new Promise<number>((resolve, reject) => {
        const number = ++runs;
        ends.push((error) => (error ? reject(error) : resolve(number)));
        begun.splice(0).forEach((tell) => void tell());
      }),
    end: (error?: Error) => ends.shift()!(error),
    /** Resolves once the run with this number has begun. */
    async begins(number: number) {
      while (runs < number) await new Promise<void>((resolve) => void begun.push(resolve));
    },
    get runs() {
      return runs;
    },
  };
}
const never = { everyMs: 3_600_000, onError: () => {} };

test('a periodic task shares a run, and runs once more for all callers during a run', async (t) => {
  const held = heldTask();
  const task = startPeriodicTask(() => held.run().then(() => {}), never);
  const first = task.run();
  t.is(task.run(), first);
  await held.begins(1);
  const second = task.runAgain();
  t.is(task.runAgain(), second);
  held.end();
  await first;
  await held.begins(2);
  held.end();
  await second;
  t.is(held.runs, 2);
  await task.close();
});

test('a periodic task continues after a failed run, and close waits for the run in progress', async (t) => {
  const held = heldTask();
  const errors: unknown[] = [];
  // The task's own timer does not keep the process alive.
  const alive = setInterval(() => {}, 1_000);
  t.teardown(() => clearInterval(alive));
  const task = startPeriodicTask(() => held.run().then(() => {}), {
    everyMs: 1,
    onError: (error) => errors.push(error),
  });
  await held.begins(1);
  held.end(new Error('once'));
  await held.begins(2);
  let closed = false;
  const closing = task.close().then(() => {
    closed = true;
  });
  await Promise.resolve();
  t.false(closed);
  held.end();
  await closing;
  await task.run();
  t.is(held.runs, 2);
  t.is(errors.length, 1);
});

test('singleFlight shares one run and starts a new one after a failure', async (t) => {
  const held = heldTask();
  const shared = singleFlight(held.run);
  const calls = [shared(), shared()];
  held.end(new Error('once'));
  for (const call of calls) await t.throwsAsync(call, { message: 'once' });
  const next = shared();
  held.end();
  t.is(await next, 2);
});

test('serializedByKey gives a call during a run the result of the following run', async (t) => {
  const held = heldTask();
  const load = serializedByKey<string, number>(held.run);
  const first = load('a');
  const during = [load('a'), load('a')];
  held.end();
  t.is(await first, 1);
  await held.begins(2);
  held.end();
  t.deepEqual(await Promise.all(during), [2, 2]);
});

test('a semaphore limits concurrent tasks and starts them in order of arrival', async (t) => {
  const held = heldTask();
  const semaphore = new Semaphore(2);
  const results = [1, 2, 3].map(() => semaphore.run(held.run));
  t.is(held.runs, 2);
  held.end();
  await held.begins(3);
  held.end();
  held.end();
  t.deepEqual(await Promise.all(results), [1, 2, 3]);
});

test('an LRU map evicts the least recently used entry', (t) => {
  const map = new LruMap<string, number>(2);
  map.set('a', 1);
  map.set('b', 2);
  map.get('a');
  map.set('c', 3);
  t.deepEqual([map.get('a'), map.get('b'), map.get('c')], [1, undefined, 3]);
});

test('waitFor repeats an attempt until it returns something, whatever failed before', async (t) => {
  let attempts = 0;
  const attempt = async (): Promise<string | undefined> => {
    attempts++;
    if (attempts === 1) throw new Error('not yet');
    return attempts < 4 ? undefined : 'there';
  };
  t.is(await waitFor(attempt, 60_000, 1), 'there');
  t.is(attempts, 4);
});

test('waitFor throws the last error after its time, and an unrecoverable one at once', async (t) => {
  let attempts = 0;
  const failing = async (): Promise<never> => {
    throw new Error(`attempt ${++attempts}`);
  };
  const { message } = (await t.throwsAsync(waitFor(failing, 50, 1)))!;
  t.is(message, `attempt ${attempts}`);
  await t.throwsAsync(
    waitFor(async () => undefined, 5, 1),
    { message: 'timed out after 5 ms' },
  );
  let calls = 0;
  const hopeless = async (): Promise<never> => {
    calls++;
    throw new UnrecoverableError('it ended');
  };
  await t.throwsAsync(waitFor(hopeless, 60_000, 1), { message: 'it ended' });
  t.is(calls, 1);
});
