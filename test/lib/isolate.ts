/** Running a program again in a network of its own, whose bridges and firewall rules end with it. */

const mark = "BERTH_TEST_NETWORK";

/** True in the process that has a network of its own. */
export function isolated(): boolean {
  return process.env[mark] !== undefined;
}

/** Runs this very command again in a network namespace of its own. @returns its exit status */
export async function isolate(): Promise<number> {
  const script = 'ip link set lo up && exec "$@"';
  const argv = ["unshare", "--net", "--", "sh", "-c", script, "sh", process.execPath, ...process.argv.slice(1)];
  const child = Bun.spawn(argv, { stdio: ["inherit", "inherit", "inherit"], env: { ...process.env, [mark]: "1" } });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
  return child.exited;
}
