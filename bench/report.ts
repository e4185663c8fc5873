/** Figures as text: tables with bars, medians and ranges. */
export const median = (values: number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  const value = sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
  return Math.round(value * 100) / 100;
};
export const spread = (values: number[]): string => `${Math.min(...values)}–${Math.max(...values)}`;

/** Columns as wide as they need to be; numbers to the right. */
export function table(head: string[], rows: (string | number)[][]): string {
  const cells = [head, ...rows.map((row) => row.map(show))];
  const widths = head.map((_, i) => Math.max(...cells.map((row) => (row[i] ?? '').length)));
  const numeric = head.map((_, i) => rows.every((row) => typeof row[i] === 'number'));
  const line = (row: string[]): string =>
    row
      .map((cell, i) => (numeric[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd();
  return [line(cells[0]!), widths.map((width) => '─'.repeat(width)).join('  '), ...cells.slice(1).map(line)].join('\n');
}

const WIDTH = 30;
/** A horizontal bar for a part of a whole. */
export function bar(value: number, whole: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, value / whole)) * WIDTH * 8);
  return '█'.repeat(eighths >> 3) + ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths & 7]!;
}

/** What a message costs each process, dearest first, drawn. */
export function cpuTable(cpu: Record<string, number>): string {
  const { all = 1, ...parts } = cpu;
  const rows = Object.entries(parts)
    .toSorted(([, a], [, b]) => b - a)
    .map(([name, us]) => [name, us, bar(us, all)]);
  return table(['process', 'CPU-µs/msg', ''], [...rows, ['all', all, '']]);
}

function show(value: string | number): string {
  return typeof value === 'number' ? value.toLocaleString('en-US', { maximumFractionDigits: 2 }) : value;
}
