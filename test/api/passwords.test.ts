/** Password checks survive the end of the hashing thread at any time. */
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { openPasswords, type PasswordOptions } from '../../services/api/auth/passwords.ts';
import { createMetrics } from '../../shared/metrics.ts';

/** Slow enough that no password is finished when the thread is terminated. */
const config = { ARGON2_MEMORY_KIB: 16_384, ARGON2_PASSES: 2, PASSWORD_QUEUE_MAX: 100 };
const file = new URL('../../services/api/auth/hash-worker.ts', import.meta.url);
async function open(options: PasswordOptions = {}) {
  const threads: Worker[] = [];
  const passwords = await openPasswords(config, createMetrics(), {
    pauseMs: 1,
    startThread(workerData) {
      const thread = new Worker(file, { workerData });
      threads.push(thread);
      return thread;
    },
    ...options,
  });
  return { passwords, threads };
}

test('[A01] log-ins in progress and later ones are answered after the hashing thread has ended', async (t) => {
  const { passwords, threads } = await open();
  const stored = await passwords.hash('correct horse');
  const underWay = Array.from({ length: 6 }, (_, i) => passwords.verify(stored, i % 2 ? 'correct horse' : 'wrong'));
  await threads[0]!.terminate();
  t.deepEqual(
    await Promise.all(underWay),
    Array.from({ length: 6 }, (_, i) => i % 2 === 1),
  );
  t.is(threads.length, 2);
  await threads[1]!.terminate();
  t.true(await passwords.verify(stored, 'correct horse'), 'also one that comes while there is no thread');
  t.is(threads.length, 3);
  await passwords.close();
});

/** A thread that exits on one password and accepts every other one. */
const FRAIL = `const { parentPort } = require('node:worker_threads');
  parentPort.on('message', ({ id, password }) =>
    password === 'poison' ? process.exit(1) : parentPort.postMessage({ id, value: true }));`;

test('[A01] a password that ends every hashing thread is given up, and those queued behind it are checked', async (t) => {
  let threads = 0;
  const startThread = () => {
    threads++;
    return new Worker(FRAIL, { eval: true });
  };
  const { passwords } = await open({ maxEnded: 3, startThread });
  const all = ['before', 'poison', 'behind', 'far behind'].map((password) => passwords.verify('stored', password));
  const [before, poison, ...behind] = await Promise.allSettled(all);
  t.like(before, { value: true });
  t.like(poison, { reason: { code: 'unavailable' } });
  for (const one of behind) t.like(one, { value: true });
  t.is(threads, 4, 'three ended');
  await passwords.close();
});
