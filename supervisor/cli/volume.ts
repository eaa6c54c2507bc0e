/** `berth volume ls|create|inspect|rm|prune`. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import { addListFlags, type ListFlags } from "./output/list.ts";

const collect = (value: string, before: string[]): string[] => [...before, value];

export function register(program: Command): void {
  const volume = program.command("volume").description("Directories that outlive containers.");
  const work = () => import("./container/volume.ts");
  const ls = volume.command("ls").alias("list").description("Lists volumes.");
  ls.option("-f, --filter <name=value>", "name, label or dangling=true", collect, []);
  addListFlags(ls).action(async (flags: ListFlags & { filter: string[] }) => {
    await withApi(ls, async (connection) => (await work()).list(connection, flags));
  });
  const create = volume
    .command("create")
    .description("Makes a volume, and prints its name.")
    .argument("[name]", "letters, digits, _, . and -")
    .option("-l, --label <name=value>", "set a label", collect, [])
    .action(async (name: string | undefined, flags: { label: string[] }) => {
      await withApi(create, async (connection) => (await work()).create(connection, name, flags.label));
    });
  const inspect = volume
    .command("inspect")
    .description("Tells all about volumes, as JSON.")
    .argument("<volume...>", "names")
    .action(async (names: string[]) => {
      await withApi(inspect, async (connection) => (await work()).inspect(connection, names));
    });
  const rm = volume
    .command("rm")
    .description("Removes volumes that no container has, with all that is in them.")
    .argument("<volume...>", "names")
    .option("-f, --force", "one that is not there is fine")
    .action(async (names: string[], flags: { force?: boolean }) => {
      await withApi(rm, async (connection) => (await work()).remove(connection, names, flags.force ?? false));
    });
  const prune = volume
    .command("prune")
    .description("Removes volumes that no container has: those without a name, or all.")
    .option("-a, --all", "those with a name, too")
    .option("-f, --force", "do not ask")
    .action(async (flags: { all?: boolean; force?: boolean }) => {
      await withApi(prune, async (connection) => (await work()).prune(connection, flags));
    });
}
