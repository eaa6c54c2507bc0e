/** The command `berth`: one verb per file in cli/. */

const usage = `usage: berth COMMAND

  daemon ...                run the daemon, as under the name berthd
  install [--bin-dir DIR]   put the executable and its links where containerd looks
  shim ...                  be the shim, as under the name containerd-shim-berth-v2
  version                   print the version
`;

/** Runs one command. @returns the exit status */
export async function main(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args;
  switch (command) {
    case "daemon":
      return (await import("./cli/daemon.ts")).daemon(rest);
    case "install":
      return (await import("./cli/install.ts")).install(rest);
    case "version":
    case "--version":
      return (await import("./cli/version.ts")).version();
    case undefined:
    case "help":
    case "--help":
    case "-h":
      await Bun.write(command === undefined ? Bun.stderr : Bun.stdout, usage);
      return command === undefined ? 1 : 0;
    default:
      await Bun.write(Bun.stderr, `berth: unknown command ${JSON.stringify(command)}\n${usage}`);
      return 1;
  }
}
