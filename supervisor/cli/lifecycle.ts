/** Verbs that start and end containers. */

import { type Command, Option } from "commander";
import { type Connection, withApi } from "./connect.ts";

type Work = typeof import("./container/lifecycle.ts");

export function register(program: Command): void {
  const verb = (name: string, text: string): Command =>
    program.command(name).description(text).argument("<container...>", "names of containers");
  const act = <Flags>(command: Command, body: (work: Work, at: Connection, ids: string[], flags: Flags) => unknown) =>
    command.action(async (ids: string[], flags: Flags) => {
      await withApi(command, async (connection) => {
        return await body(await import("./container/lifecycle.ts"), connection, ids, flags);
      });
    });

  const start = verb("start", "Starts containers that were made or have ended.")
    .option("-a, --attach", "stay with it: its output comes here")
    .option("-i, --interactive", "what is typed goes in, too")
    .option("--detach-keys <keys>", "keys that leave it running", "ctrl-p,ctrl-q");
  act<Parameters<Work["start"]>[2]>(start, (work, at, ids, flags) => work.start(at, ids, flags));

  const time = ["-t, --time <seconds>", "until it is killed; -1: never (the container's, or 10)"] as const;
  const stop = verb(
    "stop",
    "Ends containers: asks first, and kills what does not end. They stay ended until berth start.",
  )
    .option(...time)
    .addOption(new Option("--timeout <seconds>").hideHelp())
    .option("-s, --signal <signal>", "ask with this (the container's, or SIGTERM)");
  act<Parameters<Work["stop"]>[2]>(stop, (work, at, ids, flags) => work.stop(at, ids, flags));

  const restart = verb("restart", "Ends containers, and starts them again.")
    .option(...time)
    .addOption(new Option("--timeout <seconds>").hideHelp())
    .option("-s, --signal <signal>", "ask with this (the container's, or SIGTERM)");
  act<Parameters<Work["restart"]>[2]>(restart, (work, at, ids, flags) => work.restart(at, ids, flags));

  const kill = verb(
    "kill",
    "Sends containers a signal. One that is killed is not started again by its restart policy.",
  ).option("-s, --signal <signal>", "a name or a number", "KILL");
  act<{ signal: string }>(kill, (work, at, ids, flags) => work.kill(at, ids, flags));

  const remove = verb("rm", "Removes containers that have ended, with their files and logs.")
    .option("-f, --force", "end those that run")
    .option("-v, --volumes", "and the volumes that have no name");
  act<{ force?: boolean; volumes?: boolean }>(remove, (work, at, ids, flags) => work.remove(at, ids, flags));

  act(verb("pause", "Holds all processes of containers."), (work, at, ids) => work.pause(at, ids));
  act(verb("unpause", "Lets processes of containers go on."), (work, at, ids) => work.unpause(at, ids));
  act(verb("wait", "Waits until containers have ended, and prints their exit statuses."), (work, at, ids) =>
    work.wait(at, ids),
  );
}
