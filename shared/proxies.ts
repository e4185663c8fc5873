/**
 * The address of a client behind proxies. Each proxy adds the address that it was called from to the end of
 * X-Forwarded-For; what stands before the entries of trusted proxies is whatever the client wrote.
 */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { Config } from './config/index.ts';

/**
 * @param peer the other end of the connection
 * @param forwarded X-Forwarded-For: all header lines in their order, with commas between them
 * @returns the right-most address that is no trusted proxy's
 */
export type ClientAddress = (peer: string, forwarded: string) => string;
type Network = [ipaddr.IPv4 | ipaddr.IPv6, number];

/** An entry may carry a port, as some balancers write it. */
const WITH_PORT = /^(?:\[([^\]]+)\]|(\d+\.\d+\.\d+\.\d+))(?::\d+)?$/;

/** In one notation; IPv4 where it is mapped into IPv6. */
function parse(text: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  const [, v6, v4] = WITH_PORT.exec(text.trim()) ?? [];
  const bare = v6 ?? v4 ?? text.trim();
  return isIP(bare) ? ipaddr.process(bare) : undefined;
}

/** @throws when an entry of TRUSTED_PROXIES is neither a network nor an address. */
export function openProxies({ TRUSTED_PROXIES }: Pick<Config, 'TRUSTED_PROXIES'>, anyPeer = false): ClientAddress {
  const networks = TRUSTED_PROXIES.map((text): Network => {
    try {
      return isIP(text) ? [ipaddr.parse(text), isIP(text) === 4 ? 32 : 128] : ipaddr.parseCIDR(text);
    } catch {
      throw new Error('TRUSTED_PROXIES must be networks or addresses such as 10.1.0.0/16,fd00::/8');
    }
  });
  const trusted = (address: ipaddr.IPv4 | ipaddr.IPv6): boolean =>
    networks.some(([net, bits]) => net.kind() === address.kind() && address.match(net as ipaddr.IPv4, bits));

  return (peer, forwarded) => {
    const from = parse(peer);
    if (!from) return peer;
    let client = from;
    const hops = forwarded.split(',');
    for (let i = hops.length - 1; i >= 0; i--) {
      if (!trusted(client) && !(anyPeer && i === hops.length - 1)) break;
      const hop = parse(hops[i]!);
      // Whoever wrote what is no address is the last one that is known.
      if (!hop) break;
      client = hop;
    }
    return client.toString();
  };
}
