/** Flags that several verbs of images have. */

import type { Command } from "commander";

/** Adds a value to a list: for flags that may be given several times. */
export function collect(value: string, list: readonly string[] = []): readonly string[] {
  return [...list, value];
}

/** Adds the flags about registries. */
export function addRegistryFlags(command: Command): Command {
  return command
    .option("-q, --quiet", "only print the name")
    .option("-u, --user <user[:password]>", "who to be to the registry, instead of what berth login has stored")
    .option("--plain-http", "speak HTTP without TLS")
    .option("--insecure", "do not verify the registry's certificate")
    .option("--hosts-dir <directory>", "directory of HOST/hosts.toml files, instead of the daemon's");
}

/** Adds the flags about platforms. */
export function addPlatformFlags(command: Command, what: string): Command {
  return command
    .option("--platform <platform>", `${what}, such as linux/arm64; this machine's unless told`, collect)
    .option("--all-platforms", "all platforms of the image");
}

/** Adds the flags about unpacking. */
export function addUnpackFlags(command: Command): Command {
  return command
    .option("--no-unpack", "do not unpack: the first container does it")
    .option("--unpack", "unpack at once (the default)", true)
    .option("--snapshotter <name>", "unpack into this snapshotter");
}
