/**
 * `start`: launches the serving process and passes its answer on. It is launched before anything else is looked at, so
 * that the two programs load side by side as far as may be; it reads our stdin itself.
 */

/**
 * How the serving process is told to keep its memory small and to sleep while idle: no compiler but the interpreter
 * (bun:ffi wants the JIT itself left on), one collector thread, no timer of the collector. Under 300 calls this saves
 * 2.4 of 6.1 MB, and costs some microseconds a call. Our own environment may say otherwise; none of it reaches runc.
 */
const runtimeEnvironment = {
  BUN_GC_TIMER_DISABLE: "1",
  BUN_JSC_useBaselineJIT: "0",
  BUN_JSC_forceMiniVMMode: "1",
  BUN_JSC_useConcurrentGC: "0",
  BUN_JSC_numberOfGCMarkers: "1",
  // Bytes between collections: a heap that grows further before the first one stays in pieces.
  BUN_JSC_gcMaxHeapSize: "1500000",
  // Freed pages go back at once, and not by a thread that wakes twice a minute to look for them.
  MIMALLOC_PURGE_DELAY: "0",
};

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
    env: { ...runtimeEnvironment, ...Bun.env },
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
