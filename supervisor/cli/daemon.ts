/** `berth daemon`, or the executable under the name `berthd`: runs the daemon until it is told to end. */

import { messageOf } from "../../proto/errdefs.ts";
import { type Config, ConfigError, type Flags, loadConfig, parseFlags } from "../config.ts";
import { Daemon } from "../daemon.ts";
import { toJson } from "../host/json.ts";
import { Notifier } from "../host/notify.ts";
import { setOomScore } from "../host/oom-score.ts";
import { LogWriter } from "../log/log.ts";

const usage = `usage: berthd [--config FILE] [--root DIR] [--state DIR] [--address SOCKET] [--log-level LEVEL]
       berthd config default        print every key of the configuration with its default
       berthd config dump           print the configuration that would be used
`;

/** The signal that ends all containers in order, and then the daemon. */
const HALT = "SIGUSR2";

/** @returns the exit status */
export async function daemon(args: readonly string[]): Promise<number> {
  if (args[0] === "config") return (await import("./config.ts")).config(args.slice(1));
  if (args.some((arg) => arg === "--help" || arg === "-h")) {
    await Bun.write(Bun.stdout, usage);
    return 0;
  }
  if (args[0] === "--version" || args[0] === "-v") return (await import("./version.ts")).version();
  try {
    const flags = parseFlags(args);
    return await run(flags, loadConfig(flags));
  } catch (error) {
    const hint = error instanceof ConfigError ? `\n${usage}` : "\n";
    await Bun.write(Bun.stderr, `berthd: ${messageOf(error)}${hint}`);
    return 1;
  }
}

async function run(flags: Flags, config: Config): Promise<number> {
  // Modes are what the code says, and nobody else can connect to a socket before it has its mode.
  process.umask(0o022);
  const log = new LogWriter(config.debug.level);
  const notifier = new Notifier(log);
  const { promise: told, resolve: tell } = Promise.withResolvers<string>();
  listen(tell, log);
  setOomScore(config.oomScore, log);
  const starting = Daemon.start(config, log);
  // Before it listens: whoever can connect may send them too, and to a process without handlers they are the end.
  process.on("SIGHUP", () => reload(flags, log));
  process.on("SIGUSR1", () => {
    const written = starting
      .then((daemon) => daemon.state())
      .then((state) => log.info("state", { state: toJson(state) }));
    // A start that fails is told where it is waited for.
    written.catch(() => undefined);
  });
  const running = await starting;
  notifier.ready();
  log.info("berthd is ready", { ms: Math.round(performance.now()) });
  const signal = await told;
  log.info(signal === HALT ? "stopping, and all containers before" : "stopping: containers go on", { signal });
  notifier.stopping();
  // The machine, or the container that is ours, goes down; a second signal does not wait for it.
  if (signal === HALT) await running.halt();
  await running.stop();
  log.flush();
  return 0;
}

/** The first signal ends in order, the second at once. What nobody caught is logged, and the daemon goes on. */
function listen(tell: (signal: string) => void, log: LogWriter): void {
  let isTold = false;
  for (const signal of ["SIGTERM", "SIGINT", HALT] as const) {
    process.on(signal, () => {
      if (isTold) process.exit(1);
      isTold = true;
      tell(signal);
    });
  }
  // Writing to a client that has gone is that call's error, not the daemon's end.
  process.on("SIGPIPE", () => {});
  const unexpected = (error: unknown): void => {
    log.error("unexpected error: please report it", { error, stack: error instanceof Error ? error.stack : undefined });
  };
  process.on("unhandledRejection", unexpected);
  process.on("uncaughtException", unexpected);
}

function reload(flags: Flags, log: LogWriter): void {
  try {
    log.level = loadConfig(flags).debug.level;
    log.info("read the level of the log anew", { level: log.level });
  } catch (error) {
    log.error("cannot read the configuration: nothing has changed", { error });
  }
}
