/** `berth completion`: scripts with which shells complete verbs, flags and names. */

import { Argument, type Command } from "commander";
import { type Shell, scripts, shells } from "./completion/scripts.ts";
import { print } from "./output/terminal.ts";

export function register(program: Command): void {
  program
    .command("completion")
    .description("print what a shell must load to complete verbs, flags and names: source <(berth completion bash)")
    .addArgument(new Argument("<shell>").choices(shells))
    .action((shell: Shell) => print(scripts[shell]));
}
