/** Copying a tree of files, for native: in a process of its own. */

/** Longer than any disk that works takes. */
const DEADLINE_MS = 3_600_000;

/**
 * Copies everything in `from` into the directory `to`, with the attributes of `from` itself.
 * @throws Error when something could not be copied
 */
export async function copyTree(from: string, to: string): Promise<void> {
  const child = Bun.spawn(["cp", "-a", "--reflink=auto", "-T", from, to], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    timeout: DEADLINE_MS,
  });
  const [status, said] = await Promise.all([child.exited, new Response(child.stderr).text()]);
  if (status !== 0) throw new Error(`copy of ${from}: exit status ${status}: ${said.trim()}`);
}
