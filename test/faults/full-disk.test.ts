/** The disk of the embedded broker runs full and has room again: npm start brings the broker back by itself. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Disk, diskUnavailableReason } from '../../bench/faults/disk.ts';
import { measureFreeBytes } from '../../services/local/broker-monitor.ts';
import { closeDevices, TestDevice } from '../env/people.ts';
import { StartProcess } from '../env/start.ts';
import { PATIENCE_MS, until } from '../env/until.ts';

test('[M01] [O01] after the broker’s disk was full, sends succeed again without a manual restart', async (t) => {
  const reason = diskUnavailableReason();
  if (reason) {
    t.log(`left out: ${reason}`);
    t.pass();
    return;
  }
  const root = mkdtempSync(join(tmpdir(), 'sealwire-full-'));
  chmodSync(root, 0o711);
  const disk = new Disk();
  const data = join(root, 'data');
  mkdirSync(data);
  mkdirSync(join(disk.dir, 'nats'));
  symlinkSync(join(disk.dir, 'nats'), join(data, 'nats'));
  const start = new StartProcess(data, { BROKER_REFUSES_MS: '1000', COMMAND_TIMEOUT_MS: '2000', LOG_LEVEL: 'fatal' });
  try {
    await start.waitUntilReady();
    const at = { apiUrl: start.addresses.api!, edgeUrl: `ws://${new URL(start.addresses.edge!).host}` };
    const [alice, bob] = [await TestDevice.register(at), await TestDevice.register(at)];
    await Promise.all([alice.connect(), bob.connect()]);
    await alice.send(bob, 'before');
    await until(() => bob.payloads.includes('before'));
    const filler = join(disk.dir, 'filler');
    const free = measureFreeBytes(disk.dir);
    execFileSync('fallocate', ['-l', String(free - (1 << 20)), filler]);
    // Until the broker has found out; the library sends what was refused again and again.
    let sent = 0;
    const sends: Promise<unknown>[] = [];
    for (const end = Date.now() + PATIENCE_MS; !start.output.includes('its disk is full'); ) {
      if (Date.now() > end) throw new Error(`nothing was said of the full disk:\n${start.output}`);
      if (sends.length < 200) sends.push(alice.send(bob, `${sent++} ${'x'.repeat(30_000)}`));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    rmSync(filler);
    await until(() => /^nats is back/m.test(start.output));
    await Promise.all(sends);
    await until(() => bob.payloads.length === 1 + sent);
    t.regex(start.output, /nats has refused what is published for \d+ s: restarting it/);
    t.is(bob.payloads.length, new Set(bob.payloads).size);
    await closeDevices(alice, bob);
  } finally {
    await start.stop();
    disk.remove();
    rmSync(root, { recursive: true, force: true, maxRetries: 5 });
  }
});
