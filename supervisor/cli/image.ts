/** `berth image ...`: the verbs of images under docker's other names. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";
import { addHistory } from "./history.ts";
import { addImages } from "./images.ts";
import { addLoad } from "./load.ts";
import { addPin } from "./pin.ts";
import { addImagePrune } from "./prune.ts";
import { addPull } from "./pull.ts";
import { addPush } from "./push.ts";
import { addRemove } from "./rmi.ts";
import { addSave } from "./save.ts";
import { addTag } from "./tag.ts";

export function register(program: Command): void {
  const image = program
    .command("image")
    .description("images: ls, pull, push, load, save, tag, rm, inspect, prune, ...");
  addImages(image, "ls");
  addRemove(image, "rm");
  for (const add of [addPull, addPush, addLoad, addSave, addTag, addHistory, addPin, addImagePrune]) add(image);
  image
    .command("inspect")
    .description("print all that is known of images")
    .argument("<image...>")
    .option("-f, --format <format>", "json, or a template such as '{{.Id}}'")
    .action((names: string[], { format }: { format?: string }, self: Command) =>
      withApi(self, async (connection) =>
        (await import("./image/inspect.ts")).inspectImages(connection, names, format),
      ),
    );
}
