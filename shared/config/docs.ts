/** Generates `docs/configuration.md` from the tables of settings. `npm run docs` writes the page; a test compares it. */
import { writeFileSync } from 'node:fs';
import { SETTING_GROUPS } from './index.ts';
import type { Setting } from './kinds.ts';

type Row = [name: string, setting: Setting<unknown>];

const inCell = (text: string): string => text.replaceAll('|', '\\|');

function row([name, setting]: Row): string {
  const value = setting.default as string | number | boolean | string[] | undefined;
  const empty = value === undefined || value === '' || (Array.isArray(value) && !value.length);
  const former = setting.formerName ? ` Formerly \`${setting.formerName}\`.` : '';
  return `| \`${name}\` | ${empty ? '' : `\`${String(value)}\``} | ${inCell(setting.doc)}${former} |`;
}

const table = (rows: Row[]): string => `| variable | default | meaning |\n|---|---|---|\n${rows.map(row).join('\n')}\n`;

function section([heading, settings]: [string, Record<string, Setting<unknown>>]): string {
  const rows = Object.entries(settings);
  const common = rows.filter(([, { advanced }]) => !advanced);
  const others = rows.filter(([, { advanced }]) => advanced);
  return [`## ${heading}\n`, table(common), ...(others.length ? ['### Advanced\n', table(others)] : [])].join('\n');
}

export function configurationDocs(): string {
  return `# Configuration

Environment variables, read once at start (\`shared/config/settings/\`, from which \`npm run docs\` generates this page). A process does
not start when the value of a variable is not valid; the error names the variable. Names end in their unit (\`_MS\`, \`_SEC\`,
\`_MINUTES\`, \`_HOURS\`, \`_DAYS\`, \`_BYTES\`); numbers without one are counts. The settings under *Advanced* are bounds and
intervals that hardly anybody has to change. A former name is read where the new one is not set, and goes with release 0.3.

${Object.entries(SETTING_GROUPS).map(section).join('\n')}`;
}

if (import.meta.main) writeFileSync(new URL('../../docs/configuration.md', import.meta.url), configurationDocs());
