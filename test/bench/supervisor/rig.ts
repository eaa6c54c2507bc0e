/** The place where daemons are measured: containerd and berthd side by side, each with directories of its own. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Berthd } from "../../lib/berthd.ts";
import { CommandError } from "../../lib/command.ts";
import { Daemon, tail } from "../../lib/daemon.ts";
import { imageName } from "../../lib/image.ts";
import { closeScope } from "../../lib/scope.ts";
import type { BenchDisk } from "../disk.ts";
import type { Samples } from "../figure.ts";
import type { Scale } from "./figures.ts";

/** Commands take at most this long, in milliseconds. */
const LIMIT = 600_000;

/** A daemon under measurement. */
export interface Subject {
  /** The column of the table. */
  readonly name: string;
  readonly daemon: Daemon;
}

/** The tools of a measurement. */
export interface Bench {
  /** containerd, the reference, first. */
  readonly subjects: readonly Subject[];
  readonly rig: Rig;
  readonly scale: Scale;
  readonly samples: Samples;
  /** Tells a person what goes on. */
  readonly say: (text: string) => void;
}

/** Both daemons. Make it with {@link Rig.open}, and always {@link Rig.close} it. */
export class Rig {
  readonly disk: BenchDisk;
  readonly subjects: readonly Subject[];
  #count = 0;

  private constructor(disk: BenchDisk) {
    this.disk = disk;
    this.subjects = [
      { name: "containerd", daemon: new Daemon(join(disk.dir, "c"), `${disk.scope.token}-c`) },
      { name: "berthd", daemon: new Berthd(join(disk.dir, "b"), `${disk.scope.token}-b`) },
    ];
  }

  /** Starts both and gives them the small image. @throws Error when one does not start */
  static async open(disk: BenchDisk): Promise<Rig> {
    const rig = new Rig(disk);
    try {
      for (const { daemon } of rig.subjects) {
        await daemon.start();
        await daemon.importImage();
      }
    } catch (error) {
      await rig.close();
      throw error;
    }
    return rig;
  }

  /** An id that was not used before in this run. */
  freshId(): string {
    return `n${++this.#count}`;
  }

  /** The small image, and what `ctr run` says before it: both daemons choose their own shim of runc. */
  runFlags({ daemon }: Subject): string[] {
    return ["--snapshotter", daemon.snapshotter, "--fifo-dir", daemon.fifoDir];
  }

  get image(): string {
    return imageName;
  }

  /** Runs ctr. @returns seconds, and what it printed @throws CommandError with its words and the end of the daemon's log */
  async ctr({ daemon }: Subject, args: readonly string[]): Promise<{ seconds: number; stdout: string }> {
    const argv = daemon.ctrCommand(args);
    const begin = performance.now();
    const child = Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: LIMIT });
    const output = Promise.all([child.stdout.text(), child.stderr.text()]);
    const exitCode = await child.exited;
    const seconds = (performance.now() - begin) / 1000;
    const [stdout, stderr] = await output;
    if (exitCode !== 0) {
      const words = `${stderr.trim()}\n${tail(daemon.log(), 8)}`;
      throw new CommandError(argv, {
        ...{ exitCode, stdout, stderr: words },
        timedOut: child.signalCode !== null,
        ms: seconds * 1000,
      });
    }
    return { seconds, stdout };
  }

  /** Writes everything to the disk, so that one's dirty pages are not the other's delay. */
  async settle(): Promise<void> {
    await Bun.spawn(["sync"], { stdin: "ignore" }).exited;
  }

  /** Ends both and takes everything away. */
  async close(): Promise<void> {
    for (const { daemon } of this.subjects) await daemon.stop();
    closeScope(this.disk.scope);
  }
}

/** Resident memory of a daemon in kB. */
export function rssOf({ daemon }: Subject): number {
  const status = readFileSync(`/proc/${daemon.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
}
