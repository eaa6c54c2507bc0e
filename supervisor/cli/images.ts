/** `berth images`: the images that are here. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import { collect } from "./image/flags.ts";
import type { ImagesFlags } from "./image/list.ts";
import { addListFlags } from "./output/list.ts";

/** Adds the verb to a command, under a name. */
export function addImages(parent: Command, name = "images"): void {
  addListFlags(parent.command(name).description("list images"))
    .argument("[name]", "a repository, or a whole name")
    .option("--digests", "show whole digests")
    .option("-f, --filter <filter>", "dangling, pinned, reference=PATTERN, label=NAME[=VALUE]", collect)
    .option("-a, --all", "for docker's sake: all are shown")
    .action((wanted: string | undefined, flags: ImagesFlags, command: Command) =>
      withApi(command, async ({ api, namespace }) =>
        (await import("./image/list.ts")).images(api, namespace, wanted, flags),
      ),
    );
}

export function register(program: Command): void {
  addImages(program);
}
