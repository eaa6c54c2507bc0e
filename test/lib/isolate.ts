/** Running a program again in a network of its own, whose bridges, firewall rules and files end with it. */

import { mkdirSync } from "node:fs";

const mark = "BERTH_TEST_NETWORK";
/** Where berth keeps conflists when nobody says otherwise: the machine's own are not ours to list, add to or prune. */
const conflists = "/etc/cni/net.d";

/** True in the process that has a network of its own. */
export function isolated(): boolean {
  return process.env[mark] !== undefined;
}

/**
 * Runs this very command again in a network namespace of its own, with a directory of conflists that is empty and goes
 * with its mount namespace.
 * @returns its exit status
 */
export async function isolate(): Promise<number> {
  mkdirSync(conflists, { recursive: true });
  const script = `mount -t tmpfs tmpfs ${conflists} && ip link set lo up && exec "$@"`;
  const own = ["unshare", "--net", "--mount", "--propagation", "private", "--"];
  const argv = [...own, "sh", "-c", script, "sh", process.execPath, ...process.argv.slice(1)];
  const child = Bun.spawn(argv, { stdio: ["inherit", "inherit", "inherit"], env: { ...process.env, [mark]: "1" } });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
  return child.exited;
}
