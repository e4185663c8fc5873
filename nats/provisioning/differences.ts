/** Compares what topology specifies with what the broker has. */

/** Returns the fields that topology sets and the broker has otherwise. What topology leaves out is the broker's choice. */
export function differences(want: object, have: object): string[] {
  const is = have as Record<string, unknown>;
  return Object.entries(want).flatMap(([field, value]) => (isWithin(value, is[field]) ? [] : [field]));
}

/** Whether everything in `want` is the same in `have`; zero, false and empty are the same as absent. */
function isWithin(want: unknown, have: unknown): boolean {
  if (Array.isArray(want))
    return Array.isArray(have)
      ? want.length === have.length && want.every((value, i) => isWithin(value, have[i]))
      : want.length === 0;
  if (typeof want === 'object' && want !== null)
    return Object.entries(want).every(([key, value]) =>
      isWithin(value, (have as Record<string, unknown> | undefined)?.[key]),
    );
  return want === have || (!want && !have);
}
