/**
 * Restricts where webhooks and pushes may go: to public addresses and those that the operator allows. The guard is asked at
 * the dial, about the very address that is dialled, so that neither a name that resolves differently the next time nor an
 * address in an odd notation gets past. Special-purpose registries of IANA by ipaddr.js; IPv6 only where it is global
 * unicast (2000::/3).
 */
import { lookup as dnsLookup, type LookupAddress, type LookupOptions } from 'node:dns';
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

export class AddressRefused extends Error {
  override name = 'AddressRefused';
}

type Cidr = [ipaddr.IPv4 | ipaddr.IPv6, number];
const GLOBAL: Cidr = ipaddr.parseCIDR('2000::/3');

export type EgressGuard = (address: string) => boolean;

/**
 * Opens the guard with the networks of one setting. Operators name the endpoints of webhooks and people those of pushes, so
 * a network that is allowed for the first is not allowed for the second.
 * @throws naming the setting when an entry is not a network
 */
export function openEgressGuard<N extends 'WEBHOOK_ALLOW_CIDRS' | 'PUSH_ALLOW_CIDRS'>(
  config: { readonly [name in N]: readonly string[] },
  name: N,
): EgressGuard {
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
    // ipaddr.js regards ::a.b.c.d as mapped as well; kernels do not.
    if (ip instanceof ipaddr.IPv6 && ip.isIPv4MappedAddress() && ip.parts[5] === 0xffff) ip = ip.toIPv4Address();
    if (allowed.some(([net, bits]) => net.kind() === ip.kind() && ip.match(net as ipaddr.IPv4, bits))) return true;
    if (ip.range() !== 'unicast') return false;
    return ip.kind() === 'ipv4' || ip.match(GLOBAL as [ipaddr.IPv6, number]);
  };
}

/** Returns the host of a URL when it is an address. URL (WHATWG) has brought it to one notation already. */
export function addressLiteral(hostname: string): string | undefined {
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  return isIP(bare) ? bare : undefined;
}

type Callback = (error: Error | null, address: string | LookupAddress[], family?: number) => void;
export type Resolve = (
  hostname: string,
  options: LookupOptions & { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** Makes a `lookup` for sockets that fails when the guard refuses any of the addresses of the name. */
export function guardedLookup(guard: EgressGuard, resolve: Resolve = dnsLookup) {
  return (hostname: string, options: LookupOptions, callback: Callback): void => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, []);
      // A name with one refused address among allowed ones is an attempt to get past the guard.
      if (!addresses.length || !addresses.every(({ address }) => guard(address)))
        return callback(new AddressRefused('the name resolves to an address that is not public'), []);
      if (options.all) return callback(null, addresses);
      callback(null, addresses[0]!.address, addresses[0]!.family);
    });
  };
}
