/** The command `berth`: verbs that are roles of the executable, and those of cli/program.ts. */

type OwnVerb = (args: readonly string[]) => Promise<number>;

/** Verbs that read their own arguments, and are loaded without anything else. */
const own: Readonly<Record<string, OwnVerb>> = {
  daemon: async (args) => {
    if (isInit(args)) return (await import("./init/init.ts")).init(args);
    return (await import("./cli/daemon.ts")).daemon(args);
  },
  check: async (args) => (await import("./cli/check.ts")).check(args),
  conformance: async (args) => (await import("../test/conformance/main.ts")).conformance(args),
  install: async (args) => (await import("./cli/install.ts")).install(args),
  // Child processes of the daemon and of verbs: not for people.
  __complete: async (args) => (await import("./cli/completion/answer.ts")).answer(args),
  files: async (args) => (await import("./cli/files/child.ts")).files(args),
  layer: async (args) => (await import("./diff/command.ts")).layer(args),
  tree: async (args) => (await import("./snapshot/tree/command.ts")).tree(args),
  // What runc calls for a container with networks.
  "network-hook": async (args) => (await import("./network/hook.ts")).networkHook(args),
};

/** True when the daemon is to run as process 1, and not only to say something and end. */
function isInit(args: readonly string[]): boolean {
  return process.pid === 1 && !args.some((arg) => ["config", "--help", "-h", "--version", "-v"].includes(arg));
}

/** Runs one command. @returns the exit status */
export async function main(args: readonly string[]): Promise<number> {
  const [command = "", ...rest] = args;
  const verb = Object.hasOwn(own, command) ? own[command] : undefined;
  if (verb !== undefined) return verb(rest);
  return (await import("./cli/program.ts")).runProgram(args);
}
