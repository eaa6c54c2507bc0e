/** The hidden verb `berth __complete`: what the scripts ask. */

import { buildProgram, verbOf } from "../program.ts";
import { complete } from "./complete.ts";
import { namesFrom } from "./names.ts";
import { wordsOf } from "./words.ts";

/**
 * Runs `__complete line LINE` or `__complete words WORD...`: prints a candidate a line, with its text after a tab, and
 * `:files` where names of files may stand, too. @returns the exit status
 */
export async function answer(args: readonly string[]): Promise<number> {
  const [form, ...rest] = args;
  const words = form === "line" ? wordsOf(rest[0] ?? "").slice(1) : rest;
  const before = words.slice(0, -1);
  // While the verb itself is typed, all must be known.
  const program = await buildProgram(before, verbOf(before) === undefined);
  const { env } = process;
  const place = {
    namespace: env["CONTAINERD_NAMESPACE"] || "default",
    address: env["BERTH_ADDRESS"] || env["CONTAINERD_ADDRESS"] || "/run/berth/berth.sock",
  };
  const { candidates, files } = await complete(program, words, namesFrom(place));
  const lines = candidates.map(({ value, text }) => `${value}\t${text.replace(/\s+/g, " ")}\n`);
  await Bun.write(Bun.stdout, `${lines.join("")}${files ? ":files\n" : ""}`);
  return 0;
}
