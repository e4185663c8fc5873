/** Services as a process of their own: `services/main.ts` with a channel on which it tells its addresses. */
import { fileURLToPath } from 'node:url';
import type { ServiceName } from '../../shared/service-names.ts';
import { type Exit, startChild } from './child.ts';

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));
const READY_TIMEOUT_MS = 90_000;

export interface ServiceProcess {
  readonly services: readonly ServiceName[];
  readonly pid: number;
  readonly addresses: Record<string, string>;
  readonly exited: Promise<Exit>;
  signal(signal: NodeJS.Signals): void;
  stop(): Promise<Exit>;
}

export interface ServiceProcessOptions {
  services: readonly ServiceName[];
  env: NodeJS.ProcessEnv;
  /** Its addresses are asked for again, so that clients find it where it was. */
  previous?: ServiceProcess | undefined;
  log?: string | 'inherit';
  /** Told when the broker begins to refuse what these services publish (ms since 1970), and when it no longer does. */
  refused?(since: number | undefined): void;
}

/** Resolves once every service in it is ready; rejects when it ends before. */
export async function startServices({
  services,
  env,
  previous,
  log = 'inherit',
  refused = () => {},
}: ServiceProcessOptions): Promise<ServiceProcess> {
  const child = startChild(process.execPath, [...process.execArgv, MAIN, ...services], {
    orphan: 'TERM',
    env: { ...env, ...ports(previous?.addresses ?? {}) },
    log,
    ipc: true,
  });
  child.exited.then(() => refused(undefined));
  const failed = child.exited.then(({ code, signal }) => {
    throw new Error(`${services.join(', ')} ended while starting: ${signal ?? `exit code ${code}`}`);
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${services.join(', ')} not ready after ${READY_TIMEOUT_MS} ms`)),
      READY_TIMEOUT_MS,
    );
  });
  const ready = new Promise<Record<string, string>>((resolve) => {
    child.process.on('message', (message: { ready?: Record<string, string>; refused?: number | null }) => {
      if (message.ready) resolve(message.ready);
      if (message.refused !== undefined) refused(message.refused ?? undefined);
    });
  });
  try {
    const addresses = await Promise.race([ready, failed, late]);
    return {
      services,
      pid: child.pid,
      addresses,
      exited: child.exited,
      signal: child.signal,
      stop: () => child.stop('SIGTERM', 12_000),
    };
  } catch (error) {
    await child.stop('SIGKILL', 0);
    throw error;
  } finally {
    clearTimeout(timer);
    failed.catch(() => {});
  }
}

const VARIABLE: Record<string, string> = { api: 'PORT', edge: 'EDGE_PORT', ops: 'OPS_PORT' };

function ports(addresses: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(addresses).flatMap(([name, address]) =>
      VARIABLE[name] ? [[VARIABLE[name], new URL(address).port]] : [],
    ),
  );
}
