/** Starts services as a process of their own: `services/main.ts`, which reports its addresses over an IPC channel. */
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
  close(): Promise<Exit>;
}

interface ServiceProcessOptions {
  services: readonly ServiceName[];
  env: NodeJS.ProcessEnv;
  /** The process that this one replaces: it gets the same ports, so that clients find it again. */
  previous?: ServiceProcess | undefined;
  log?: string | 'inherit';
  /** Called when the broker begins to refuse what these services publish (ms since 1970), and when it no longer does (undefined). */
  onRefusal?(since: number | undefined): void;
}

/** Resolves once every service of the process is ready. @throws when the process ends before, or takes too long. */
export async function startServiceProcess({
  services,
  env,
  previous,
  log = 'inherit',
  onRefusal = () => {},
}: ServiceProcessOptions): Promise<ServiceProcess> {
  const child = startChild(process.execPath, [...process.execArgv, MAIN, ...services], {
    orphan: 'TERM',
    env: { ...env, ...portVariables(previous?.addresses ?? {}) },
    log,
    ipc: true,
  });
  child.exited.then(() => onRefusal(undefined));
  const failed = child.exited.then(({ code, signal }) => {
    throw new Error(`${services.join(', ')} ended while starting: ${signal ?? `exit code ${code}`}`);
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${services.join(', ')} did not become ready within ${READY_TIMEOUT_MS} ms: see the log`)),
      READY_TIMEOUT_MS,
    );
  });
  const ready = new Promise<Record<string, string>>((resolve) => {
    child.process.on('message', (message: { ready?: Record<string, string>; refused?: number | null }) => {
      if (message.ready) resolve(message.ready);
      if (message.refused !== undefined) onRefusal(message.refused ?? undefined);
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
      close: () => child.close('SIGTERM', 12_000),
    };
  } catch (error) {
    await child.close('SIGKILL', 0);
    throw error;
  } finally {
    clearTimeout(timer);
    failed.catch(() => {});
  }
}

/** The variable of the port of each address that a process reports. */
const PORT_VARIABLES: Record<string, string> = { api: 'PORT', edge: 'EDGE_PORT', ops: 'OPS_PORT' };

function portVariables(addresses: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(addresses).flatMap(([name, address]) =>
      PORT_VARIABLES[name] ? [[PORT_VARIABLES[name], new URL(address).port]] : [],
    ),
  );
}
