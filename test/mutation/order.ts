/** What the wrapper and its proxy tell each other. */

import type { BinaryAnswer, BinaryCall } from "./fault.ts";

/** What a proxy is to do; JSON on its stdin. */
export interface ProxyOrder {
  readonly fault: string;
  readonly shim: string;
  readonly state: string;
  /** Its stdin in base64. */
  readonly call: Omit<BinaryCall, "stdin"> & { readonly stdin: string };
}

/** What `start` of the good shim answered; one line of JSON on the proxy's stdout, stdout in base64. */
export type ProxyAnswer = Omit<BinaryAnswer, "stdout"> & { readonly stdout: string };

/** The file in a bundle that names the proxy and the shim behind it. */
export const noteName = ".mutation";

/** Makes a binary call of the good shim. */
export async function callGood(
  shim: string,
  { argv, stdin, env, cwd }: Pick<BinaryCall, "argv" | "stdin" | "env" | "cwd">,
): Promise<BinaryAnswer> {
  const child = Bun.spawn([shim, ...argv], {
    cwd,
    env,
    stdin: stdin.length > 0 ? stdin : "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, exitCode] = await Promise.all([child.stdout.bytes(), child.stderr.text(), child.exited]);
  return { exitCode, stdout, stderr };
}
