/** `berth pin` and `unpin`: images that neither collection nor pruning takes. */

import type { Command } from "commander";
import { withApi } from "./connect.ts";

/** Adds both verbs to a command. */
export function addPin(parent: Command): void {
  const verbs = [
    ["pin", "keep images whatever is pruned or evicted", true],
    ["unpin", "let images be pruned and evicted again", false],
  ] as const;
  for (const [name, text, isPinned] of verbs) {
    parent
      .command(name)
      .description(text)
      .argument("<image...>")
      .action((names: string[], _: unknown, self: Command) =>
        withApi(self, async (connection) => (await import("./image/records.ts")).pin(connection, names, isPinned)),
      );
  }
}

export function register(program: Command): void {
  addPin(program);
}
