/** How a daemon is set up: by its flags, else the file, else the defaults of config/table.ts. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ConfigError, readConfiguration, type Values } from "./config/read.ts";
import { packRuntimeOptions } from "./config/runtime-options.ts";
import { configuration } from "./config/table.ts";
import { Access } from "./status/access.ts";

export { ConfigError } from "./config/read.ts";

/** Every key of config/table.ts with its value: `max_size` of `[diff]` is `diff.maxSize`. */
export type Config = Values<typeof configuration>;

/** What a command line may say. */
export interface Flags {
  readonly config?: string | undefined;
  readonly root?: string | undefined;
  readonly state?: string | undefined;
  readonly address?: string | undefined;
  readonly "log-level"?: string | undefined;
}

/** Where the configuration is, when neither flag nor environment say. */
const defaultFile = "/etc/berth/config.toml";

/** The options of parseArgs that make {@link Flags}. */
export const flagOptions = {
  config: { type: "string", short: "c" },
  root: { type: "string" },
  state: { type: "string" },
  address: { type: "string", short: "a" },
  "log-level": { type: "string", short: "l" },
} as const;

/**
 * Reads flags of a daemon.
 * @throws ConfigError with what is wrong
 */
export function parseFlags(args: readonly string[]): Flags {
  try {
    return parseArgs({ args: [...args], options: flagOptions }).values;
  } catch (error) {
    throw new ConfigError((error as Error).message);
  }
}

/**
 * The configuration of the file of the flags, of BERTH_CONFIG, or of /etc/berth/config.toml if that is there; flags win.
 * @throws ConfigError when a file that was named is not there, or something in it is wrong
 */
export function loadConfig(flags: Flags = {}, env: Readonly<Record<string, string | undefined>> = Bun.env): Config {
  const named = flags.config ?? (env["BERTH_CONFIG"] || undefined);
  const file = named ?? (existsSync(defaultFile) ? defaultFile : undefined);
  const fromFile = file === undefined ? "" : readConfigFile(file);
  let config: Config;
  try {
    config = readConfiguration(configuration, fromFile);
    for (const [name, { options }] of config.runtimes) packRuntimeOptions(name, options);
    new Access(config.status);
  } catch (error) {
    if (error instanceof ConfigError && file !== undefined) throw new ConfigError(`${file}: ${error.message}`);
    throw error;
  }
  return {
    ...config,
    root: flagOr(configuration.root.kind, "root", flags.root, config.root),
    state: flagOr(configuration.state.kind, "state", flags.state, config.state),
    grpc: {
      ...config.grpc,
      address: flagOr(configuration.grpc.keys.address.kind, "address", flags.address, config.grpc.address),
    },
    debug: {
      ...config.debug,
      level: flagOr(configuration.debug.keys.level.kind, "log-level", flags["log-level"], config.debug.level),
    },
  };
}

/** The configuration as it may be shown. */
export function withoutSecrets(config: Config): Config {
  return config.status.token === "" ? config : { ...config, status: { ...config.status, token: "(secret)" } };
}

/** The path of the socket for shims. */
export function ttrpcAddress(config: Config): string {
  return config.ttrpc.address || `${config.grpc.address}.ttrpc`;
}

/** Where people look inside. */
export function debugAddress(config: Config): string {
  return config.debug.address || join(config.state, "debug.sock");
}

function readConfigFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new ConfigError(`cannot read the configuration: ${(error as Error).message}`);
  }
}

function flagOr<T>(
  kind: { readonly expected: string; read(value: unknown): T | undefined },
  name: string,
  given: string | undefined,
  otherwise: T,
): T {
  if (given === undefined) return otherwise;
  const value = kind.read(given);
  if (value === undefined) throw new ConfigError(`--${name}: expected ${kind.expected}, not ${JSON.stringify(given)}`);
  return value;
}
