import { styleText } from 'node:util';

const started = performance.now();
const out = (line: string): void => void process.stdout.write(`${line}\n`);

/** A chapter of the story, with the seconds since its start. */
export const chapter = (title: string): void => {
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  out(`\n${styleText('bold', title)} ${styleText('dim', `${seconds} s`)}`);
};
export const line = (text: string): void => out(`  ${text}`);
export const aside = (text: string): void => out(styleText('dim', `  ${text}`));
/** Something the demo promised: seen, or the demo has failed. */
export function check(holds: boolean, text: string): void {
  if (!holds) throw new Error(`not so: ${text}`);
  out(`  ${styleText('green', '✔')} ${text}`);
}
