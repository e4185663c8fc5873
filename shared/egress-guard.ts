/**
 * Where webhooks and pushes may go: public addresses, and what the operator allows. Asked at the dial itself, of the very
 * address that is dialled, so that neither a name that resolves differently the next time nor a literal in an odd
 * notation gets past. IANA special-purpose registries by ipaddr.js; IPv6 only where it is global unicast (2000::/3).
 */
import { lookup as dnsLookup, type LookupAddress, type LookupOptions } from 'node:dns';
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

export class AddressRefused extends Error {
  override name = 'AddressRefused';
}

type Cidr = [ipaddr.IPv4 | ipaddr.IPv6, number];
const GLOBAL: Cidr = ipaddr.parseCIDR('2000::/3');

export type Guard = (address: string) => boolean;

/**
 * Operators name the endpoints of webhooks, people those of pushes: what is allowed for the first is not for the others.
 * @throws naming the setting when an entry is no network.
 */
export function openGuard<N extends 'WEBHOOK_ALLOW_CIDRS' | 'PUSH_ALLOW_CIDRS'>(
  config: { readonly [name in N]: readonly string[] },
  name: N,
): Guard {
  const allowed = config[name].map((text): Cidr => {
    try {
      return ipaddr.parseCIDR(text);
    } catch {
      throw new Error(`${name} must be networks such as 10.1.0.0/16,fd00::/8`);
    }
  });
  return (address) => {
    if (!isIP(address) || address.includes('%')) return false;
    let ip = ipaddr.parse(address);
    // The library takes ::a.b.c.d for mapped as well, which no kernel does.
    if (ip instanceof ipaddr.IPv6 && ip.isIPv4MappedAddress() && ip.parts[5] === 0xffff) ip = ip.toIPv4Address();
    if (allowed.some(([net, bits]) => net.kind() === ip.kind() && ip.match(net as ipaddr.IPv4, bits))) return true;
    if (ip.range() !== 'unicast') return false;
    return ip.kind() === 'ipv4' || ip.match(GLOBAL as [ipaddr.IPv6, number]);
  };
}

/** The host of a URL as an address, if it is one; URLs already come in one notation (WHATWG). */
export function literal(hostname: string): string | undefined {
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  return isIP(bare) ? bare : undefined;
}

type Callback = (error: Error | null, address: string | LookupAddress[], family?: number) => void;
export type Resolve = (
  hostname: string,
  options: LookupOptions & { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** A `lookup` for sockets that gives only addresses the guard lets pass, and fails where one of them is refused. */
export function guardedLookup(guard: Guard, resolve: Resolve = dnsLookup) {
  return (hostname: string, options: LookupOptions, callback: Callback): void => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, []);
      // One bad address among good ones is a try at the guard.
      if (!addresses.length || !addresses.every(({ address }) => guard(address)))
        return callback(new AddressRefused('the name leads to an address that is not public'), []);
      if (options.all) return callback(null, addresses);
      callback(null, addresses[0]!.address, addresses[0]!.family);
    });
  };
}
