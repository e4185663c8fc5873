/**
 * A disk of its own for the broker that can lose its power: a loop-mounted ext4 whose FS_IOC_SHUTDOWN ioctl stops it at
 * once, without writing its journal. What was not fsynced is gone after the next mount. Linux, root only.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** The streams reserve room, so it has to look large. */
const SIZE = 4 * 1024 ** 3;
/** _IOR('X', 125, __u32), and EXT4_GOING_FLAGS_NOLOGFLUSH, of linux/ext4.h. */
const SHUTDOWN = 'open(F,"<",$ARGV[0]) or die $!; my $how=pack("L",2); ioctl(F,0x8004587d,$how) or die $!';

const run = (command: string, ...args: string[]): void =>
  void execFileSync(command, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });

/** Why there can be no such disk here; undefined when there can. */
export function diskMissing(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'it needs Linux and root';
  if (!existsSync('/dev/loop-control')) return 'there are no loop devices';
  try {
    const disk = new Disk();
    disk.remove();
    return undefined;
  } catch (error) {
    return `no ext4 can be mounted here: ${(error as Error).message.split('\n').at(-1)}`;
  }
}

export class Disk {
  readonly dir: string;
  readonly #home: string;
  readonly #image: string;

  /** Sparse: it takes the room of what is on it. */
  constructor(bytes = SIZE) {
    this.#home = mkdtempSync(join(tmpdir(), 'sealwire-disk-'));
    // The user as whom Postgres runs must be able to walk through.
    chmodSync(this.#home, 0o711);
    this.#image = join(this.#home, 'image');
    this.dir = join(this.#home, 'disk');
    mkdirSync(this.dir);
    writeFileSync(this.#image, '');
    truncateSync(this.#image, bytes);
    try {
      run('mkfs.ext4', '-q', '-F', '-m', '0', this.#image);
      this.#mount();
    } catch (error) {
      rmSync(this.#home, { recursive: true, force: true });
      throw error;
    }
  }

  /** From here on nothing reaches it any more, and what it had not been told to keep is lost. */
  cutPower(): void {
    run('perl', '-e', SHUTDOWN, this.dir);
  }

  /** After the cut, and once nobody has files open in it. */
  async powerUp(): Promise<void> {
    for (let tries = 50; ; tries--) {
      try {
        run('umount', this.dir);
        break;
      } catch (error) {
        if (tries === 0) throw error;
        await pause(100);
      }
    }
    this.#mount();
  }

  remove(): void {
    // Lazily: it goes when the last file in it is closed.
    run('umount', '-l', this.dir);
    rmSync(this.#home, { recursive: true, force: true });
  }

  #mount(): void {
    run('mount', '-o', 'loop', this.#image, this.dir);
  }
}
