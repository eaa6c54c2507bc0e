/** What answers to the name runc on this machine: the tests' expectations differ where the programs do. */

function answers(argument: string): string | undefined {
  if (Bun.which("runc") === null) return undefined;
  const { exitCode, stdout } = Bun.spawnSync(["runc", argument], { stderr: "ignore" });
  return exitCode === 0 ? stdout.toString() : undefined;
}

/** True when it is crun. */
export const isCrun = answers("--version")?.startsWith("crun") ?? false;

/** What `runc features` prints; undefined with runc before 1.1 and crun before 1.9, which do not know the word (IN-3). */
export const runcFeatures = answers("features");
