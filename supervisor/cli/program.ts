/**
 * The commands of `berth` that commander reads. A verb is a file `cli/VERB.ts` that exports `register(program)`; only the
 * file of the verb that was asked for is loaded, and all of them for help and completion.
 */

import { Command, CommanderError } from "commander";
import manifest from "../../package.json" with { type: "json" };
import { FAILED, USAGE } from "./status.ts";

/** What a verb's file exports. */
export interface VerbModule {
  /** Adds the verb, or several of one noun. */
  register(program: Command): void;
}

interface Verb {
  readonly group: string;
  readonly load: () => Promise<VerbModule>;
}

const groups = {
  containers: "Containers:",
  images: "Images:",
  node: "Networks, volumes and applications:",
  system: "This machine:",
} as const;

/** Every verb, by the name that it is called by; names of one file are told apart by the file. */
export const verbs: Readonly<Record<string, Verb>> = {
  run: { group: groups.containers, load: () => import("./run.ts") },
  create: { group: groups.containers, load: () => import("./create.ts") },
  attach: { group: groups.containers, load: () => import("./attach.ts") },
  inspect: { group: groups.containers, load: () => import("./inspect.ts") },
  port: { group: groups.containers, load: () => import("./inspect.ts") },
  update: { group: groups.containers, load: () => import("./update.ts") },
  rename: { group: groups.containers, load: () => import("./update.ts") },
  logs: { group: groups.containers, load: () => import("./logs.ts") },
  ps: { group: groups.containers, load: () => import("./ps.ts") },
  exec: { group: groups.containers, load: () => import("./exec.ts") },
  start: { group: groups.containers, load: () => import("./lifecycle.ts") },
  stop: { group: groups.containers, load: () => import("./lifecycle.ts") },
  restart: { group: groups.containers, load: () => import("./lifecycle.ts") },
  kill: { group: groups.containers, load: () => import("./lifecycle.ts") },
  rm: { group: groups.containers, load: () => import("./lifecycle.ts") },
  pause: { group: groups.containers, load: () => import("./lifecycle.ts") },
  unpause: { group: groups.containers, load: () => import("./lifecycle.ts") },
  wait: { group: groups.containers, load: () => import("./lifecycle.ts") },
  images: { group: groups.images, load: () => import("./images.ts") },
  pull: { group: groups.images, load: () => import("./pull.ts") },
  push: { group: groups.images, load: () => import("./push.ts") },
  load: { group: groups.images, load: () => import("./load.ts") },
  save: { group: groups.images, load: () => import("./save.ts") },
  tag: { group: groups.images, load: () => import("./tag.ts") },
  rmi: { group: groups.images, load: () => import("./rmi.ts") },
  pin: { group: groups.images, load: () => import("./pin.ts") },
  unpin: { group: groups.images, load: () => import("./pin.ts") },
  history: { group: groups.images, load: () => import("./history.ts") },
  offline: { group: groups.images, load: () => import("./offline.ts") },
  delta: { group: groups.images, load: () => import("./delta.ts") },
  image: { group: groups.images, load: () => import("./image.ts") },
  login: { group: groups.images, load: () => import("./login.ts") },
  logout: { group: groups.images, load: () => import("./login.ts") },
  cp: { group: groups.containers, load: () => import("./cp.ts") },
  commit: { group: groups.images, load: () => import("./commit.ts") },
  volume: { group: groups.node, load: () => import("./volume.ts") },
  stats: { group: groups.containers, load: () => import("./stats.ts") },
  top: { group: groups.containers, load: () => import("./top.ts") },
  events: { group: groups.system, load: () => import("./events.ts") },
  info: { group: groups.system, load: () => import("./system.ts") },
  system: { group: groups.system, load: () => import("./system.ts") },
  shutdown: { group: groups.system, load: () => import("./shutdown.ts") },
  network: { group: groups.node, load: () => import("./network.ts") },
  apply: { group: groups.node, load: () => import("./apply.ts") },
  diff: { group: groups.node, load: () => import("./diff.ts") },
  rollback: { group: groups.node, load: () => import("./rollback.ts") },
  apps: { group: groups.node, load: () => import("./apps.ts") },
  prune: { group: groups.system, load: () => import("./prune.ts") },
  doctor: { group: groups.system, load: () => import("./doctor.ts") },
  completion: { group: groups.system, load: () => import("./completion.ts") },
  version: { group: groups.system, load: () => import("./version.ts") },
};

/** Verbs that read their arguments themselves (main.ts), with what they do. */
export const ownVerbs: Readonly<Record<string, string>> = {
  daemon: "run the daemon, as under the name berthd",
  check: "see whether everything that the daemon has on record is there",
  install: "put the executable and its links where containerd looks, and a unit for systemd",
  conformance: "see where a shim keeps the contract with containerd, and where not",
  shim: "be the shim, as under the name containerd-shim-berth-v2",
};

/** Options of the program that take a value. */
const valued = ["-n", "--namespace", "-a", "-H", "--address", "--host"];

/** The first argument that is no option; undefined when there is none. */
export function verbOf(args: readonly string[]): string | undefined {
  for (let at = 0; at < args.length; at++) {
    const arg = args[at] ?? "";
    if (!arg.startsWith("-")) return arg;
    if (valued.includes(arg)) at++;
  }
  return undefined;
}

/** The program with the verbs that it is asked for; with all of them when it is not known which, or `all`. */
export async function buildProgram(args: readonly string[], all = false): Promise<Command> {
  const program = new Command("berth")
    .description(
      "Runs containers on this machine. Every verb speaks containerd's API: to berthd, or to containerd itself.",
    )
    .usage("[-n NAMESPACE] [-a SOCKET] COMMAND ...")
    .option("-n, --namespace <name>", "namespace of containers and images (CONTAINERD_NAMESPACE; default)")
    .option("-a, --address <socket>", "socket of the daemon (BERTH_ADDRESS, CONTAINERD_ADDRESS; /run/berth/berth.sock)")
    .version(`berth ${manifest.version}`, "-v, --version", "print the version")
    .helpOption("-h, --help", "print this, or the help of a command")
    .helpCommand("help [command]", "print the help of a command")
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "berth: ")) })
    .showHelpAfterError("(berth --help lists the commands, berth COMMAND --help their options)");
  const verb = verbOf(args);
  const wanted = verb !== undefined && !all && Object.hasOwn(verbs, verb) ? [verb] : Object.keys(verbs);
  for (const name of wanted) await add(program, verbs[name]);
  if (wanted.length !== 1) addOwn(program);
  return program;
}

async function add(program: Command, verb: Verb | undefined): Promise<void> {
  if (verb === undefined) return;
  const before = new Set(program.commands);
  const { register } = await verb.load();
  const fresh = new Command().enablePositionalOptions().exitOverride();
  register(fresh);
  for (const command of fresh.commands) {
    // Verbs of one file are registered by the first of them.
    if ([...before].some((known) => known.name() === command.name())) continue;
    prepare(command, verb.group);
    program.addCommand(command.copyInheritedSettings(program));
  }
}

/** The program's options may follow the verb, too, where it has none of that name. */
function prepare(command: Command, group: string | undefined): void {
  if (group !== undefined) command.helpGroup(group);
  for (const child of command.commands) prepare(child, undefined);
  if (command.commands.length > 0) return;
  const has = (flag: string): boolean => command.options.some(({ long }) => long === flag);
  if (!has("--namespace")) command.option("--namespace <name>", "as before the command");
  if (!has("--address")) command.option("--address <socket>", "as before the command");
}

function addOwn(program: Command): void {
  for (const [name, text] of Object.entries(ownVerbs)) {
    program.command(name, { hidden: false }).description(text).helpGroup(groups.system).allowUnknownOption();
  }
}

/** Runs a command line. @returns the exit status */
export async function runProgram(args: readonly string[]): Promise<number> {
  const program = await buildProgram(args);
  if (args.length === 0) {
    await Bun.write(Bun.stderr, program.helpInformation());
    return FAILED;
  }
  try {
    await program.parseAsync([...args], { from: "user" });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    return error.code === "commander.unknownCommand" ? FAILED : USAGE;
  }
}
