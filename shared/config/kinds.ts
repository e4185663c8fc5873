/** Kinds of settings: how each is read from the environment, and the error when its text is not valid. */

/** @param name the variable that the operator set, for the error */
type Parse<T> = (text: string, name: string) => T;

export interface Setting<T> {
  default: T;
  parse: Parse<T>;
  doc: string;
  /** Listed apart on the page: a bound or an interval that nobody who operates the system needs to set. */
  advanced?: true;
  /** The variable's former name, read where the new one is not set. Former names go with release 0.3. */
  formerName?: string;
}

/** @throws an error that names the variable, what it must be, and the remedy. */
export const fail = (name: string, wants: string): never => {
  throw new Error(`${name} must be ${wants}; unset it to use the default`);
};

/** Marks a table of settings as advanced. */
export function advanced<T extends Record<string, Setting<unknown>>>(settings: T): T {
  for (const setting of Object.values(settings)) setting.advanced = true;
  return settings;
}

/** Reads a setting by its former name too. */
export const formerly = <T>(formerName: string, setting: Setting<T>): Setting<T> => ({ ...setting, formerName });

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

/** Origins as browsers send them: scheme, host and port, nothing behind. */
export const origins = (doc: string): Setting<string[]> => ({
  default: [],
  parse(t, name) {
    const all = t.split(',').flatMap((s) => s.trim() || []);
    if (all.some((origin) => origin !== '*' && !(URL.canParse(origin) && new URL(origin).origin === origin)))
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
