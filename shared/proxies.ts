/**
 * Finds the address of a client behind proxies. Each proxy appends the address of its caller to X-Forwarded-For; everything
 * before the entries of trusted proxies may have been written by the client.
 */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { Config } from './config/index.ts';

/**
 * @param peer the other end of the connection
 * @param forwarded X-Forwarded-For: all header lines in their order, with commas between them
 * @returns the right-most address that does not belong to a trusted proxy
 */
type ClientAddress = (peer: string, forwarded: string) => string;
type Network = [ipaddr.IPv4 | ipaddr.IPv6, number];

/** An address with a port, as some load balancers write it. */
const WITH_PORT = /^(?:\[([^\]]+)\]|(\d+\.\d+\.\d+\.\d+))(?::\d+)?$/;

/** @returns the address in one notation, an IPv4 address that is mapped into IPv6 as IPv4; undefined for another text. */
function parse(text: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  const [, v6, v4] = WITH_PORT.exec(text.trim()) ?? [];
  const bare = v6 ?? v4 ?? text.trim();
  return isIP(bare) ? ipaddr.process(bare) : undefined;
}

/** @throws when an entry of TRUSTED_PROXIES is neither a network nor an address. */
export function createClientAddressFinder(
  { TRUSTED_PROXIES }: Pick<Config, 'TRUSTED_PROXIES'>,
  anyPeer = false,
): ClientAddress {
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
      // Not an address: the last known client is the one that sent this entry.
      if (!hop) break;
      client = hop;
    }
    return client.toString();
  };
}
