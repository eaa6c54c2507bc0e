/** `berthd config default` and `berthd config dump`. */

import { exampleOf } from "../config/example.ts";
import { configuration } from "../config/table.ts";
import { ConfigError, loadConfig, parseFlags, withoutSecrets } from "../config.ts";
import { toJson } from "../host/json.ts";

/** @returns the exit status */
export async function config(args: readonly string[]): Promise<number> {
  const [verb, ...rest] = args;
  try {
    if (verb === "default" && rest.length === 0) {
      await Bun.write(Bun.stdout, exampleOf(configuration));
      return 0;
    }
    if (verb === "dump") {
      const used = withoutSecrets(loadConfig(parseFlags(rest)));
      await Bun.write(Bun.stdout, `${toJson(used, 2)}\n`);
      return 0;
    }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    await Bun.write(Bun.stderr, `berthd config: ${error.message}\n`);
    return 1;
  }
  await Bun.write(Bun.stderr, "usage: berthd config default\n       berthd config dump [--config FILE] [FLAGS]\n");
  return 1;
}
