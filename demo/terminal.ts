/** Prints the demo on the terminal: chapters, lines, asides and checks. */
import { styleText } from 'node:util';

const startedAt = performance.now();
const print = (line: string): void => void process.stdout.write(`${line}\n`);

/** Prints the title of a chapter, with the seconds since the start. */
export const printChapter = (title: string): void => {
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  print(`\n${styleText('bold', title)} ${styleText('dim', `${seconds} s`)}`);
};
export const printLine = (text: string): void => print(`  ${text}`);
/** Prints a technical detail, dimmed. */
export const printAside = (text: string): void => print(styleText('dim', `  ${text}`));
/** Prints a statement that the demo has just verified. @throws if it does not hold, which ends the demo */
export function check(holds: boolean, statement: string): void {
  if (!holds) throw new Error(`this does not hold: ${statement}`);
  print(`  ${styleText('green', '✔')} ${statement}`);
}
