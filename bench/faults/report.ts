/** Formats the outcomes of scenarios for the terminal. */
import type { Outcome } from './scenario.ts';

/** Violations of each invariant that are printed. */
const MAX_EXAMPLES = 5;

function formatVerdict({ passed, violations }: Outcome): string {
  if (violations.length === 0) return passed ? 'sound' : 'NOT FOUND';
  const invariants = [...new Set(violations.map(({ invariant }) => invariant))].join(' ');
  return passed ? `found: ${invariants}` : `${violations.length} VIOLATIONS: ${invariants}`;
}

const formatMs = (value: number | undefined): string => (value === undefined ? '-' : `${Math.round(value)} ms`);

/** Formats one outcome in one line. */
export function formatSummary(outcome: Outcome): string {
  const { queued, delivered, gaps, recovery_ms, peaks } = outcome;
  const memory = Math.max(...peaks.values());
  return `${queued} queued, ${delivered} delivered, ${gaps} gaps reported, recovery ${formatMs(recovery_ms)}, at most ${memory} MiB: ${formatVerdict(outcome)}`;
}

/** Formats the first few violations of each invariant, and the path of the journal. */
export function formatViolations({ violations, journal }: Outcome): string[] {
  const lines: string[] = [];
  const counts = new Map<string, number>();
  for (const { invariant, text } of violations) {
    const count = (counts.get(invariant) ?? 0) + 1;
    counts.set(invariant, count);
    if (count <= MAX_EXAMPLES) lines.push(`${invariant}: ${text}`);
  }
  for (const [invariant, count] of counts)
    if (count > MAX_EXAMPLES) lines.push(`${invariant}: ${count - MAX_EXAMPLES} more`);
  if (journal) lines.push(`journal: ${journal}`);
  return lines;
}

const HEAD = [
  ...['scenario', 'queued', 'delivered', 'gaps', 'resynced', 'repeats', 'recovery', 'silence'],
  ...['MiB edge/nats', 'verdict'],
];

/** Formats all outcomes as the rows of a table. */
export function formatTable(outcomes: Outcome[]): string[] {
  const rows = outcomes.map((outcome) => [
    outcome.name,
    ...[outcome.queued, outcome.delivered, outcome.gaps, outcome.resynced, outcome.repeats].map(String),
    formatMs(outcome.recovery_ms),
    formatMs(outcome.silence_ms),
    `${outcome.peaks.get('edge') ?? '-'}/${outcome.peaks.get('nats') ?? '-'}`,
    formatVerdict(outcome),
  ]);
  const cells = [HEAD, ...rows];
  const widths = HEAD.map((_, i) => Math.max(...cells.map((row) => row[i]!.length)));
  return cells.map((row) => row.map((cell, i) => cell.padEnd(widths[i]!)).join('  '));
}
