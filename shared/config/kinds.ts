/** Kinds of settings: how each is read from the environment, and what is said when it can't be. */
type Parse<T> = (text: string, name: string) => T;
export interface Setting<T> {
  default: T;
  parse: Parse<T>;
  doc: string;
}

export const fail = (name: string, wants: string): never => {
  throw new Error(`${name} must be ${wants}; unset it to use the default`);
};
export const text = (value: string, doc: string): Setting<string> => ({ default: value, parse: (t) => t, doc });
export const optional = (doc: string): Setting<string | undefined> => ({ default: undefined, parse: (t) => t, doc });
export const count = (value: number, doc: string, min = 0): Setting<number> => ({
  default: value,
  parse: (t, name) => (/^\d+$/.test(t) && Number(t) >= min ? Number(t) : fail(name, `a whole number from ${min}`)),
  doc,
});
export const flag = (value: boolean, doc: string): Setting<boolean> => ({
  default: value,
  parse: (t, name) => (t === 'true' ? true : t === 'false' ? false : fail(name, 'true or false')),
  doc,
});
export const counts = (value: number[], doc: string): Setting<number[]> => ({
  default: value,
  parse: (t, name) =>
    /^\d+(,\d+)*$/.test(t) ? t.split(',').map(Number) : fail(name, 'whole numbers with commas between them'),
  doc,
});
export const choice = <T extends string>(value: T, of: readonly T[], doc: string): Setting<T> => ({
  default: value,
  parse: (t, name) => (of.includes(t as T) ? (t as T) : fail(name, of.join(' or '))),
  doc,
});
/** As browsers send them: scheme, host and port, nothing behind. */
export const origins = (doc: string): Setting<string[]> => ({
  default: [],
  parse(t, name) {
    const all = t.split(',').flatMap((s) => s.trim() || []);
    if (all.some((one) => one !== '*' && !(URL.canParse(one) && new URL(one).origin === one)))
      fail(
        name,
        'origins with commas between them, each like https://chat.example.org, without a path or a slash at its end',
      );
    return all;
  },
  doc,
});
export const list = (doc: string): Setting<string[]> => ({
  default: [],
  parse: (t) =>
    t
      .split(',')
      .map((s) => s.trim())
      .filter(Boolean),
  doc,
});
