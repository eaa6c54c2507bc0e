/** The OCI runtimes of this machine. */

/** A runtime in PATH. */
export interface RuntimeView {
  readonly name: string;
  readonly path: string;
  readonly version: string;
}

/** Where runtimes are looked for beside PATH, which a service may have short. */
const MORE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const VERSION_MS = 5000;

/** runc and crun, where they are there and answer. */
export async function runtimeVersions(): Promise<RuntimeView[]> {
  const found = ["runc", "crun"].map(async (name): Promise<RuntimeView | undefined> => {
    const path = Bun.which(name, { PATH: `${process.env["PATH"] ?? ""}:${MORE}` });
    if (path === null) return undefined;
    const output = await outputOf([path, "--version"]);
    const version = /version[: ]+v?(\S+)/.exec(output ?? "")?.[1];
    return { name, path, version: version ?? "unknown" };
  });
  return (await Promise.all(found)).filter((runtime) => runtime !== undefined);
}

/** What a program prints; undefined when it fails or takes too long. */
export async function outputOf(command: readonly string[], timeout = VERSION_MS): Promise<string | undefined> {
  try {
    const child = Bun.spawn([...command], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout,
      killSignal: "SIGKILL",
    });
    const [output] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return child.exitCode === 0 ? output : undefined;
  } catch {
    return undefined;
  }
}
