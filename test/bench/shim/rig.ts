/** The place where shims are measured: a private containerd with a small image, and a root file system beside it. */

import { copyFileSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { CommandError, type CommandOptions } from "../../lib/command.ts";
import { Daemon, tail } from "../../lib/daemon.ts";
import { findBusybox, imageName } from "../../lib/image.ts";
import { pathWithDist } from "../../lib/paths.ts";
import { closeScope } from "../../lib/scope.ts";
import type { BenchDisk } from "../disk.ts";

/** A shim under measurement. */
export interface Runtime {
  /** The column of the table. */
  readonly name: string;
  /** Absolute path of the shim's executable; containerd takes it as a runtime name (INV-1). */
  readonly path: string;
}

/** What one command came to. */
export interface Outcome {
  /** Wall time in seconds, from before the start to the end of the process. */
  readonly seconds: number;
  readonly stdout: string;
}

/** Commands take at most this long, in milliseconds. */
const commandLimit = 300_000;

/** A private containerd and what the measurements share. Make it with {@link Rig.open}, and always {@link Rig.close} it. */
export class Rig {
  readonly daemon: Daemon;
  /** A root file system with busybox, the lower directory of containers without containerd. */
  readonly rootfs: string;
  /** Where the bundles of shims lie that are started without containerd. */
  readonly bundles: string;
  /** The environment of a shim that is started without containerd. */
  readonly env: Record<string, string>;
  readonly #disk: BenchDisk;
  readonly #ids = new Set<string>();

  private constructor(disk: BenchDisk) {
    this.#disk = disk;
    this.daemon = new Daemon(join(disk.dir, "d"), disk.scope.token);
    this.rootfs = join(disk.dir, "rootfs");
    this.bundles = join(disk.dir, "b");
    // containerd hands its own environment down, so these are what the daemon's shims have too (INV-4).
    this.env = { PATH: pathWithDist(), GOMAXPROCS: "2", TTRPC_ADDRESS: `${this.daemon.address}.ttrpc` };
  }

  /**
   * Starts containerd and imports the image. Whatever happens to this process, its guard takes everything away.
   *
   * @throws Error when a program is missing or containerd does not answer
   */
  static async open(disk: BenchDisk): Promise<Rig> {
    const rig = new Rig(disk);
    try {
      rig.#makeRootfs();
      await rig.daemon.start();
      await rig.daemon.importImage();
    } catch (error) {
      await rig.close();
      throw error;
    }
    return rig;
  }

  /** containerd's namespace, and the name of the cgroup above all containers here. */
  get namespace(): string {
    return this.daemon.namespace;
  }

  /** Notes the id of a container, so that the socket of a shim that was killed is removed in the end. */
  register(id: string): void {
    this.#ids.add(id);
  }

  /** What every `ctr run` or `ctr container create` here says before its own flags. */
  containerFlags(runtime: Runtime): string[] {
    return ["--snapshotter", this.daemon.snapshotter, "--runtime", runtime.path];
  }

  /** Name of the image that the daemon has. */
  get image(): string {
    return imageName;
  }

  /** Runs ctr and measures it. @throws Error when it fails, with its words and the end of containerd's log */
  ctr(args: readonly string[]): Promise<Outcome> {
    return this.time(this.daemon.ctrCommand(args));
  }

  /** Runs a command and measures it. @throws Error when it fails or takes more than five minutes */
  async time(argv: readonly string[], options: Pick<CommandOptions, "cwd"> = {}): Promise<Outcome> {
    const begin = performance.now();
    const child = Bun.spawn([...argv], {
      ...options,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: commandLimit,
    });
    const exitCode = await child.exited;
    const seconds = (performance.now() - begin) / 1000;
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    if (exitCode !== 0) {
      const words = `${stderr.trim()}\n${tail(this.daemon.log(), 8)}`;
      const timedOut = child.signalCode !== null;
      throw new CommandError(argv, { exitCode, stdout, stderr: words, timedOut, ms: seconds * 1000 });
    }
    return { seconds, stdout };
  }

  /** Ends containerd and takes everything away. */
  async close(): Promise<void> {
    await this.daemon.stop();
    closeScope(this.#disk.scope);
    for (const id of this.#ids) {
      rmSync(this.daemon.socketPath(id), { force: true });
    }
  }

  #makeRootfs(): void {
    for (const dir of ["bin", "proc", "dev", "sys", "run", "tmp", "etc"]) {
      mkdirSync(join(this.rootfs, dir), { recursive: true });
    }
    copyFileSync(findBusybox(), join(this.rootfs, "bin/busybox"));
    for (const applet of ["sh", "true", "sleep", "dd", "cat"]) {
      symlinkSync("busybox", join(this.rootfs, "bin", applet));
    }
    mkdirSync(this.bundles);
  }
}
