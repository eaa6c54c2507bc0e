/**
 * `start`: launches the serving process and passes its answer on. It is launched before anything else is looked at, so
 * that the two programs load side by side as far as may be; it reads our stdin itself.
 */

import { shimEnvironment } from "../../proto/shim-environment.ts";

/**
 * Starts a shim for the bundle in the working directory.
 * @param args the flags of this binary call, without the action
 * @returns the exit status
 */
export async function start(args: readonly string[]): Promise<number> {
  const child = Bun.spawn([process.execPath, ...args, "serve"], {
    argv0: process.argv0,
    stdin: "inherit",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...shimEnvironment, ...Bun.env },
    // Its own session: signals to containerd's process group do not reach it (ST-10, PR-5).
    detached: true,
  });
  // An answer is shorter than a pipe's atomic write, so the first piece is all of it.
  const { value: answer } = await child.stdout.getReader().read();
  if (answer !== undefined) {
    await Bun.write(Bun.stdout, answer);
    return 0;
  }
  const complaint = (await child.stderr.text()).trim();
  await Bun.write(Bun.stderr, `${complaint || `the shim ended with status ${await child.exited} and said nothing`}\n`);
  return 1;
}
