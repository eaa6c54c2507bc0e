/**
 * The entry of the one executable: picks the role by the name it is called by, or by its first argument. A role's code
 * is loaded only when it is needed; the shim's first of all must stay small.
 */

import { parseFlags } from "./command/flags.ts";

/** What a shim is called by: containerd-shim-berth-v2, or any other name of a shim that it replaces by runtime_path. */
const shimName = /(?:^|\/)containerd-shim-[^/]+$/;
const daemonName = /(?:^|\/)berthd$/;
/** What the kernel calls the first process of an initramfs. It adds words of its own command line, which are not for us. */
const initName = /(?:^|\/)(?:init|linuxrc)$/;

async function shim(args: readonly string[]): Promise<number> {
  const flags = parseFlags(args);
  if (flags.version) {
    const { name, version } = await import("./version.ts");
    await Bun.write(Bun.stdout, `containerd-shim-berth-v2:\n  Name:     ${name}\n  Version:  ${version}\n`);
    return 0;
  }
  if (flags.info) return (await import("./command/info.ts")).info();
  if (flags.action === "wait") return (await import("./command/wait.ts")).wait();
  if (flags.namespace === "") throw new Error("shim namespace cannot be empty");
  switch (flags.action) {
    case "start":
      return (await import("./command/start.ts")).start(args.slice(0, args.lastIndexOf("start")));
    case "serve":
      await (await import("./command/serve.ts")).serve(flags);
      return -1;
    case "delete":
      return (await import("./command/delete.ts")).deleteContainer(flags);
    default:
      throw new Error(`unknown action ${JSON.stringify(flags.action)}: expected start or delete`);
  }
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  if (shimName.test(process.argv0)) return shim(args);
  if (args[0] === "shim") return shim(args.slice(1));
  if (process.pid === 1 && initName.test(process.argv0)) {
    const flags = args.filter((arg) => arg.startsWith("--"));
    return (await import("../supervisor/main.ts")).main(["daemon", ...flags]);
  }
  const command = daemonName.test(process.argv0) ? ["daemon", ...args] : args;
  return (await import("../supervisor/main.ts")).main(command);
}

try {
  const status = await main();
  // The serving process goes on after its command has returned.
  if (status >= 0) process.exit(status);
} catch (error) {
  await Bun.write(Bun.stderr, `${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
