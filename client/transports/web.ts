/** The transport over the global WebSocket of browsers, Node ≥ 22, Deno and Bun. */
import type { Transport } from './types.ts';

/** Node's WebSocket accepts headers beside the protocols; that of browsers does not. */
type WithHeaders = new (
  url: string,
  options: string[] | { protocols: string[]; headers: Record<string, string> },
) => WebSocket;

/** @param headers whether this WebSocket can send headers; by default, whether this is Node */
export function webTransport(headers = 'process' in globalThis): Transport {
  return {
    headers,
    open(url, protocols, values, events) {
      const socket = new (WebSocket as unknown as WithHeaders)(
        url,
        headers ? { protocols, headers: values } : protocols,
      );
      let isClosed = false;
      const reportClose = (code: number, reason: string): void => {
        if (isClosed) return;
        isClosed = true;
        events.close(code, reason);
      };
      socket.onopen = () => events.open();
      socket.onmessage = (event) => {
        if (typeof event.data === 'string') events.message(event.data);
      };
      // Nothing to do: in every implementation `close` follows an error.
      socket.onerror = () => {};
      socket.onclose = (event) => reportClose(event.code, event.reason);
      return {
        send: (text) => socket.send(text),
        close: (code) => socket.close(code),
        terminate() {
          socket.close();
          reportClose(1006, 'given up');
        },
      };
    },
  };
}
