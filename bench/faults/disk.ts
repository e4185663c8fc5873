/**
 * Provides a disk that can lose its power: a loop-mounted ext4 whose FS_IOC_SHUTDOWN ioctl stops it at once, without writing
 * its journal. Data that was not fsynced is gone after the next mount. Needs Linux and root.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../../shared/async/sleep.ts';

/** The streams reserve space, so the disk has to look large. */
const DEFAULT_BYTES = 4 * 1024 ** 3;
/** Perl that calls the ioctl _IOR('X', 125, __u32) with EXT4_GOING_FLAGS_NOLOGFLUSH, both of linux/ext4.h. */
const SHUTDOWN_SCRIPT = 'open(F,"<",$ARGV[0]) or die $!; my $how=pack("L",2); ioctl(F,0x8004587d,$how) or die $!';

const UNMOUNT_RETRIES = 50;
const UNMOUNT_RETRY_MS = 100;

const run = (command: string, ...args: string[]): void =>
  void execFileSync(command, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });

/** Returns why this machine can't provide such a disk; undefined if it can. */
export function diskUnavailableReason(): string | undefined {
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
  readonly #root: string;
  readonly #image: string;

  /** Creates and mounts the disk. Its image is sparse: it takes only the space of the data on it. */
  constructor(bytes = DEFAULT_BYTES) {
    this.#root = mkdtempSync(join(tmpdir(), 'sealwire-disk-'));
    // Postgres runs as an unprivileged user, who must be able to traverse the directory.
    chmodSync(this.#root, 0o711);
    this.#image = join(this.#root, 'image');
    this.dir = join(this.#root, 'disk');
    mkdirSync(this.dir);
    writeFileSync(this.#image, '');
    truncateSync(this.#image, bytes);
    try {
      run('mkfs.ext4', '-q', '-F', '-m', '0', this.#image);
      this.#mount();
    } catch (error) {
      rmSync(this.#root, { recursive: true, force: true });
      throw error;
    }
  }

  /** Stops the disk: nothing more is written to it, and data that was not fsynced is lost. */
  cutPower(): void {
    run('perl', '-e', SHUTDOWN_SCRIPT, this.dir);
  }

  /** Mounts the disk again after a cut. Waits until no process has files open on it. */
  async powerUp(): Promise<void> {
    for (let retries = UNMOUNT_RETRIES; ; retries--) {
      try {
        run('umount', this.dir);
        break;
      } catch (error) {
        if (retries === 0) throw error;
        await sleep(UNMOUNT_RETRY_MS);
      }
    }
    this.#mount();
  }

  remove(): void {
    // A lazy unmount: it takes effect when the last file on the disk is closed.
    run('umount', '-l', this.dir);
    rmSync(this.#root, { recursive: true, force: true });
  }

  #mount(): void {
    run('mount', '-o', 'loop', this.#image, this.dir);
  }
}
