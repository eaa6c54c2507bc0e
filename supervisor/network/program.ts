/** Running iptables and ip. */

/** Milliseconds for one call; iptables waits for others that change rules. */
const LIMIT_MS = 20_000;

const sbin = "/usr/local/sbin:/usr/sbin:/sbin";

/** How a program ended. */
export interface Ended {
  readonly ok: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** True when a program is installed. */
export function hasProgram(name: string): boolean {
  return Bun.which(name, { PATH: searchPath() }) !== null;
}

/** Runs a program to its end. One that is not installed has not ended well. */
export async function runProgram(argv: readonly string[], stdin = ""): Promise<Ended> {
  const [name = "", ...args] = argv;
  const path = Bun.which(name, { PATH: searchPath() });
  if (path === null) return { ok: false, stdout: "", stderr: `${name} is not installed` };
  const child = Bun.spawn([path, ...args], {
    ...{ stdin: new Blob([stdin]), stdout: "pipe", stderr: "pipe", cwd: "/" },
    ...{ timeout: LIMIT_MS, killSignal: "SIGKILL", env: { PATH: searchPath(), LC_ALL: "C" } },
  });
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { ok: (await child.exited) === 0, stdout, stderr };
}

/** The caller's PATH, and where iptables is, which a user's own may lack. */
function searchPath(): string {
  const path = process.env["PATH"];
  return path ? `${path}:${sbin}` : `${sbin}:/usr/bin:/bin`;
}
