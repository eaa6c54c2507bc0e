/** Running a program in a binary call, which has seconds in all (INV-7): bounded in time and output. */

/** How a program ended, and what it printed. */
export interface BriefResult {
  /** The exit status; undefined when the limit passed. */
  readonly status: number | undefined;
  readonly output: Uint8Array;
}

/** What a program may print before the rest is thrown away. */
const OUTPUT_LIMIT = 1 << 20;

/**
 * Runs a program in a session of its own and collects one of its streams. At the limit the program and its children are
 * killed: a child that holds the stream, such as a hook, must not hold us.
 * @param limit in milliseconds; a shorter BERTH_RUNC_TIMEOUT (seconds) counts instead
 * @throws Error when it cannot be started
 */
export async function runBriefly(
  argv: readonly string[],
  stream: "stdout" | "stderr",
  limit: number,
): Promise<BriefResult> {
  const child = Bun.spawn([...argv], {
    stdin: "ignore",
    stdout: stream === "stdout" ? "pipe" : "ignore",
    stderr: stream === "stderr" ? "pipe" : "ignore",
    detached: true,
  });
  const seconds = Number(Bun.env["BERTH_RUNC_TIMEOUT"]);
  let late = false;
  const timer = setTimeout(
    () => {
      late = true;
      process.kill(-child.pid, "SIGKILL");
    },
    seconds > 0 ? Math.min(limit, seconds * 1000) : limit,
  );
  try {
    const output = await firstOf(child[stream] as ReadableStream<Uint8Array>);
    const status = await child.exited;
    return { status: late ? undefined : status, output };
  } finally {
    clearTimeout(timer);
  }
}

/** The first bytes of a stream, which is read to its end. */
async function firstOf(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    if (length < OUTPUT_LIMIT) chunks.push(chunk.subarray(0, OUTPUT_LIMIT - length));
    length += chunk.length;
  }
  return Buffer.concat(chunks);
}
