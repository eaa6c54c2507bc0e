/** Bringing a whole file system to disk. */

/** Longer than any disk that works takes. */
const DEADLINE_MS = 600_000;

/**
 * Syncs the file system that `directory` is in, in a process of its own: syncfs(2) may take as long as the disk takes for
 * everything that was written to it.
 * @throws Error when that failed: what was written may be lost
 */
export async function syncFileSystem(directory: string): Promise<void> {
  const child = Bun.spawn(["sync", "-f", directory], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    timeout: DEADLINE_MS,
  });
  const [status, said] = await Promise.all([child.exited, new Response(child.stderr).text()]);
  if (status !== 0) throw new Error(`sync -f ${directory}: exit status ${status}: ${said.trim()}`);
}
