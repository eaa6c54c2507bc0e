/** The command `berth`: one verb per file in cli/. */

const usage = `usage: berth COMMAND

  daemon ...                run the daemon, as under the name berthd
  check [--verify]          see whether everything that the daemon has on record is there
  install [--bin-dir DIR] [--systemd]
                            put the executable and its links where containerd looks, and a unit for systemd
  conformance --shim PATH   see where a shim keeps the contract with containerd, and where not
  shim ...                  be the shim, as under the name containerd-shim-berth-v2
  version                   print the version
`;

/** Runs one command. @returns the exit status */
export async function main(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args;
  switch (command) {
    case "daemon":
      return (await import("./cli/daemon.ts")).daemon(rest);
    case "check":
      return (await import("./cli/check.ts")).check(rest);
    case "conformance":
      return (await import("../test/conformance/main.ts")).conformance(rest);
    case "install":
      return (await import("./cli/install.ts")).install(rest);
    case "layer":
      return (await import("./diff/command.ts")).layer(rest);
    case "tree":
      return (await import("./snapshot/tree/command.ts")).tree(rest);
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
