/** File systems in files, mounted by loop devices. */

import { existsSync, mkdirSync } from "node:fs";
import { run } from "./command.ts";

/** Why there can be no ext4 in a file here; undefined when there can. */
export function whyNoLoop(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  if (!existsSync("/dev/loop-control")) return "no loop devices";
  return Bun.which("mkfs.ext4") === null || Bun.which("losetup") === null ? "no mkfs.ext4 or losetup" : undefined;
}

/** Mounts the ext4 in a file; the loop device goes when it is unmounted. @throws CommandError */
export async function mountLoop(image: string, directory: string, options = "loop"): Promise<void> {
  mkdirSync(directory, { recursive: true });
  await run(["mount", "-t", "ext4", "-o", options, image, directory], { check: true });
}
