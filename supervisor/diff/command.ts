/** The hidden verb `berth layer ...`, under which the daemon starts this executable to work on a layer. */

import { join } from "node:path";

/** The command line that runs `layer` with these arguments, from the compiled executable or from source. */
export function layerCommand(...args: readonly string[]): string[] {
  const isCompiled = import.meta.dir.startsWith("/$bunfs");
  const program = isCompiled ? [process.execPath] : [process.execPath, join(import.meta.dir, "../../shim/main.ts")];
  return [...program, "layer", ...args];
}

/** Runs `layer`. @returns the exit status */
export async function layer(args: readonly string[]): Promise<number> {
  const [action, ...rest] = args;
  switch (action) {
    case "apply":
      return (await import("./apply.ts")).apply();
    case "compare":
      return (await import("./compare.ts")).compare();
    case "inflate":
      return (await import("./input.ts")).inflate(rest);
    case "patch":
      return (await import("../delta/process.ts")).patch();
    default:
      await Bun.write(Bun.stderr, "berth layer is started by the daemon\n");
      return 1;
  }
}
