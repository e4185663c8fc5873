import type { Transport } from './types.ts';

/** Node's WebSocket takes headers beside the protocols; browsers' does not. */
type WithHeaders = new (
  url: string,
  options: string[] | { protocols: string[]; headers: Record<string, string> },
) => WebSocket;

/** The global WebSocket of browsers, Node ≥ 22, Deno and Bun. */
export function webTransport(headers = 'process' in globalThis): Transport {
  return {
    headers,
    open(url, protocols, values, events) {
      const socket = new (WebSocket as unknown as WithHeaders)(
        url,
        headers ? { protocols, headers: values } : protocols,
      );
      let closed = false;
      const close = (code: number, reason: string): void => {
        if (closed) return;
        closed = true;
        events.close(code, reason);
      };
      socket.onopen = () => events.open();
      socket.onmessage = (event) => {
        if (typeof event.data === 'string') events.message(event.data);
      };
      // `close` follows an error, in every implementation.
      socket.onerror = () => {};
      socket.onclose = (event) => close(event.code, event.reason);
      return {
        send: (text) => socket.send(text),
        close: (code) => socket.close(code),
        terminate() {
          socket.close();
          close(1006, 'given up');
        },
      };
    },
  };
}
