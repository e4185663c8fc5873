/** Formats figures as text: tables, bars, medians and ranges. */
export const roundTo = (value: number, digits: number): number => Math.round(value * 10 ** digits) / 10 ** digits;

/** Returns the median, rounded to two digits. */
export const median = (values: number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return roundTo(sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2, 2);
};
/** Returns the least and the greatest value as text. */
export const range = (values: number[]): string => `${Math.min(...values)}–${Math.max(...values)}`;
/** Returns the share by which the greatest value exceeds the least. */
export const drift = (values: number[]): number => Math.max(...values) / Math.min(...values) - 1;

/** A run is void if its ceilings drift by more than this share, because the machine was not quiet. */
export const MAX_DRIFT = 0.1;

/** Formats a table whose columns are as wide as needed, numbers to the right. */
export function table(head: string[], rows: (string | number)[][]): string {
  const cells = [head, ...rows.map((row) => row.map(formatCell))];
  const widths = head.map((_, i) => Math.max(...cells.map((row) => (row[i] ?? '').length)));
  const isNumeric = head.map((_, i) => rows.every((row) => typeof row[i] === 'number'));
  const formatRow = (row: string[]): string =>
    row
      .map((cell, i) => (isNumeric[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '─'.repeat(width)).join('  ');
  return [formatRow(cells[0]!), rule, ...cells.slice(1).map(formatRow)].join('\n');
}

/** Characters of a full bar. */
const BAR_WIDTH = 30;
/** Draws a horizontal bar for a part of a whole. */
export function bar(value: number, whole: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, value / whole)) * BAR_WIDTH * 8);
  return '█'.repeat(eighths >> 3) + ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths & 7]!;
}

/** Formats the CPU time that one message costs each process, the most expensive first. */
export function cpuTable(cpu: Record<string, number>): string {
  const { all = 1, ...parts } = cpu;
  const rows = Object.entries(parts)
    .toSorted(([, a], [, b]) => b - a)
    .map(([name, us]) => [name, us, bar(us, all)]);
  return table(['process', 'CPU-µs/msg', ''], [...rows, ['all', all, '']]);
}

function formatCell(value: string | number): string {
  return typeof value === 'number' ? value.toLocaleString('en-US', { maximumFractionDigits: 2 }) : value;
}
