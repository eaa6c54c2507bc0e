/** Where things are, and which runtime and which containerd the tests drive. */

import { join } from "node:path";

/** The repository. */
export const root = join(import.meta.dir, "..", "..");

/** Where the executable and its links are: what the build puts them into, or `BERTH_TEST_DIST`. */
export const dist = process.env["BERTH_TEST_DIST"] ?? join(root, "dist");

/** The shim that the build makes. */
export const builtShim = join(dist, "containerd-shim-berth-v2");

/** The runtime name under test: `BERTH_TEST_RUNTIME`, or berth. `io.containerd.runc.v2` tests containerd's own shim. */
export const runtime = process.env["BERTH_TEST_RUNTIME"] ?? "io.containerd.berth.v2";

/** True when the runtime under test is berth and not the reference. */
export const testsBerth = runtime === "io.containerd.berth.v2";

/** Name of the binary of a runtime name, as containerd finds it (INV-1). */
export function shimName(name: string): string {
  const parts = name.split(".");
  return `containerd-shim-${parts.at(-2)}-${parts.at(-1)}`;
}

/** The PATH that daemons get: our dist first, so that `io.containerd.berth.v2` is found there. */
export function pathWithDist(): string {
  return `${dist}:${process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin"}`;
}

/** Why integration tests cannot run here, or undefined when they can. */
export function whyNoContainers(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  for (const program of ["containerd", "ctr", "runc", "busybox"]) {
    if (Bun.which(program) === null) return `${program} is not installed`;
  }
  return undefined;
}
