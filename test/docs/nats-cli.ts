/** The subcommands of the `nats` CLI that documents use: most positional arguments, and flags (of nats-io/natscli 0.3). */
interface Subcommand {
  arguments: number;
  flags: readonly string[];
}

/** Flags of every subcommand; a second `--server` is refused. */
export const GLOBAL = ['server', 'user', 'password', 'creds', 'context', 'timeout', 'js-domain', 'trace'];

export const SUBCOMMANDS: Record<string, Subcommand> = {
  'stream report': { arguments: 0, flags: ['subject', 'consumers', 'messages', 'raw', 'leaders'] },
  'stream info': { arguments: 1, flags: ['json', 'state', 'no-select'] },
  'stream subjects': { arguments: 2, flags: ['json', 'sort', 'reverse', 'names'] },
  'stream view': { arguments: 2, flags: ['id', 'since', 'raw', 'translate', 'subject'] },
  'consumer report': { arguments: 1, flags: ['raw', 'leaders'] },
  'consumer info': { arguments: 2, flags: ['json', 'no-select'] },
  'consumer edit': { arguments: 2, flags: [] },
  'consumer unpin': { arguments: 3, flags: ['force'] },
  sub: { arguments: 9, flags: ['queue', 'raw', 'count'] },
  'server report jetstream': { arguments: 1, flags: ['account', 'sort', 'compact', 'leaders'] },
};

/** Words as a shell splits them; a quoted `$(…)` stays one. */
const words = (line: string): string[] =>
  [...line.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)].map(([word]) => word.replace(/^(['"])(.*)\1$/, '$2'));

/** Returns the error of a command line that begins with `nats`; nothing when it is right. */
export function findMistake(line: string): string | undefined {
  const [first, ...rest] = words(line);
  if (first !== 'nats') return `it begins with ${first}`;
  const flags: string[] = [];
  const plain: string[] = [];
  for (let i = 0; i < rest.length; i++) {
    const word = rest[i]!;
    if (!word.startsWith('-')) plain.push(word);
    else {
      const [name, value] = word.replace(/^--?/, '').split('=');
      flags.push(name!);
      // Those that documents use all have a value, but for the switches.
      if (value === undefined && !['json', 'raw', 'force', 'names', 'leaders', 'reverse', 'trace'].includes(name!)) i++;
    }
  }
  const name = [plain.slice(0, 3).join(' '), plain.slice(0, 2).join(' '), plain[0] ?? ''].find((one) =>
    Object.hasOwn(SUBCOMMANDS, one),
  );
  // The address alone, to which a subcommand is added.
  if (plain.length === 0 && flags.length > 0) return flags.every((flag) => GLOBAL.includes(flag)) ? undefined : 'flags';
  if (!name) return `there is no subcommand ${plain.slice(0, 2).join(' ')}`;
  const known = SUBCOMMANDS[name]!;
  const surplus = plain.length - name.split(' ').length - known.arguments;
  if (surplus > 0) return `${name} takes ${known.arguments} arguments`;
  const unknown = flags.filter((flag) => !known.flags.includes(flag) && !GLOBAL.includes(flag));
  if (unknown.length) return `${name} has no flag --${unknown.join(', --')}`;
  if (flags.filter((flag) => flag === 'server').length > 1) return '--server is given twice';
  return undefined;
}
