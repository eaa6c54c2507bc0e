/** A disk whose power can be cut: a loop device with ext4 on a file that knows what a flush is (disk-server.ts). */

import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { run } from "../lib/command.ts";
import { mountLoop, whyNoLoop } from "../lib/loop.ts";
import { waitFor } from "../lib/wait.ts";

/** What of the write cache is left after a cut: nothing, any part, or the oldest part. */
export type CutMode = "none" | "some" | "order";

/** Why there can be no such disk here; undefined when there can. */
export function whyNoDisk(): string | undefined {
  return whyNoLoop() ?? (existsSync("/dev/fuse") ? undefined : "no /dev/fuse");
}

/** A disk with a file system, mounted. */
export class Disk {
  readonly #dir: string;
  readonly #size: number;
  #server: Subprocess<"ignore", "pipe", "inherit"> | undefined;
  #device = "";
  #mounted = "";

  /**
   * @param dir of the disk's own
   * @param size in bytes
   */
  constructor(dir: string, size: number) {
    this.#dir = dir;
    this.#size = size;
    mkdirSync(join(dir, "fuse"), { recursive: true });
  }

  /** Makes the file system and mounts it. */
  async mount(directory: string): Promise<void> {
    const fuse = join(this.#dir, "fuse");
    const program = join(import.meta.dir, "disk-server.ts");
    this.#server = Bun.spawn([process.execPath, program, fuse, String(this.#size)], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    const disk = join(fuse, "disk");
    await waitFor("the disk", async () => (await run(["stat", "-c", "%s", disk])).stdout.trim() === String(this.#size));
    this.#device = (await run(["losetup", "--find", "--show", disk], { check: true })).stdout.trim();
    await run(["mkfs.ext4", "-q", "-E", "nodiscard", this.#device], { check: true });
    mkdirSync(directory, { recursive: true });
    await run(["mount", "-t", "ext4", this.#device, directory], { check: true });
    this.#mounted = directory;
    // Before this there was no disk that could be cut.
    await run(["sync", "-f", directory], { check: true });
  }

  /** What would be on the disk if its power went now. The disk goes on. */
  cut(mode: CutMode, seed: number, image: string): void {
    writeFileSync(join(this.#dir, "fuse", "control"), `${mode} ${seed} ${image}`, { flag: "r+" });
  }

  /** From now on the disk forgets most of its flushes: what is promised on it cannot be kept. */
  lie(): void {
    writeFileSync(join(this.#dir, "fuse", "control"), "lie", { flag: "r+" });
  }

  /** What the disk said of its cuts, a line each. Only after {@link remove}. */
  async report(): Promise<string> {
    return this.#server === undefined ? "" : await new Response(this.#server.stdout).text();
  }

  async remove(): Promise<void> {
    if (this.#mounted !== "") await run(["umount", this.#mounted]);
    if (this.#device !== "") await run(["losetup", "--detach", this.#device]);
    // The loop device lets go of it a moment later.
    const gone = async (): Promise<boolean> => (await run(["umount", join(this.#dir, "fuse")])).exitCode === 0;
    await waitFor("the disk to be free", gone, { interval: 50 }).catch(() =>
      run(["umount", "-l", join(this.#dir, "fuse")]),
    );
    this.#server?.kill("SIGKILL");
    await this.#server?.exited;
  }
}

/** Mounts the image of a cut, which the file system first repairs by its journal. Answers how to take it away. */
export async function mountImage(image: string, directory: string): Promise<() => Promise<void>> {
  await mountLoop(image, directory);
  return async () => {
    await run(["umount", directory], { check: true });
    rmSync(image);
  };
}
