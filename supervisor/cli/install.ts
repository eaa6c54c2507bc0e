/**
 * `berth install`: puts the executable and its links where containerd looks (INV-1), units where systemd looks, and a
 * script where OpenRC looks.
 */

import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { openrcOf } from "../host/openrc.ts";
import { containersUnitOf, unitOf } from "../host/unit.ts";

/** Links to the executable, one for each role that containerd or a person calls by name. */
const links = ["containerd-shim-berth-v2", "berthd"];
const defaultDirectory = "/usr/local/bin";
const defaultUnits = "/etc/systemd/system";
const defaultScripts = "/etc/init.d";
const usage = `usage: berth install [--bin-dir DIR] [--systemd [--systemd-dir DIR]] [--openrc [--openrc-dir DIR]] [--config FILE]
`;

const flags = {
  "bin-dir": { type: "string" },
  systemd: { type: "boolean" },
  "systemd-dir": { type: "string" },
  openrc: { type: "boolean" },
  "openrc-dir": { type: "string" },
  config: { type: "string" },
} as const;

/**
 * Copies this executable to DIR/berth and links the roles to it. An executable that is in use is replaced, not
 * overwritten: running shims go on with the old one. With --systemd the units berthd.service and berth-containers.service
 * are written too, with --openrc the script berthd.
 * @returns the exit status
 */
export async function install(args: readonly string[]): Promise<number> {
  if (args.some((arg) => arg === "--help" || arg === "-h")) {
    await Bun.write(Bun.stdout, usage);
    return 0;
  }
  let directory: string;
  let units: string | undefined;
  let scripts: string | undefined;
  let config: string | undefined;
  try {
    const { values } = parseArgs({ args: [...args], options: flags });
    directory = resolve(values["bin-dir"] ?? defaultDirectory);
    units = values.systemd ? resolve(values["systemd-dir"] ?? defaultUnits) : undefined;
    scripts = values.openrc ? resolve(values["openrc-dir"] ?? defaultScripts) : undefined;
    config = values.config === undefined ? undefined : resolve(values.config);
  } catch (error) {
    await Bun.write(Bun.stderr, `berth install: ${(error as Error).message}\n${usage}`);
    return 1;
  }
  if (!import.meta.dir.startsWith("/$bunfs")) {
    await Bun.write(Bun.stderr, "berth install: run the compiled dist/berth, which `npm run build` makes\n");
    return 1;
  }
  const installed = ["berth", ...links].map((name) => join(directory, name));
  try {
    within(directory, "--bin-dir", () => {
      replace(join(directory, "berth"), (temporary) => copyFileSync(process.execPath, temporary));
      for (const link of links) replace(join(directory, link), (temporary) => symlinkSync("berth", temporary));
    });
    if (units !== undefined) {
      const texts = [
        ["berthd.service", unitOf(join(directory, "berthd"), config)],
        ["berth-containers.service", containersUnitOf(join(directory, "berth"), config)],
      ] as const;
      for (const [name, text] of texts) {
        within(units, "--systemd-dir", () => replace(join(units, name), (path) => writeFileSync(path, text)));
        installed.push(join(units, name));
      }
    }
    if (scripts !== undefined) {
      const script = join(scripts, "berthd");
      within(scripts, "--openrc-dir", () =>
        replace(script, (path) => {
          writeFileSync(path, openrcOf(directory, config));
          chmodSync(path, 0o755);
        }),
      );
      installed.push(script);
    }
  } catch (error) {
    await Bun.write(Bun.stderr, `berth install: ${(error as Error).message}\n`);
    return 1;
  }
  const found = (process.env["PATH"] ?? "").split(delimiter).includes(directory);
  const hint = found ? "" : `${directory} is not in PATH: add it to containerd's, or name it with runtime_path\n`;
  const next =
    (units === undefined ? "" : "start it: systemctl daemon-reload && systemctl enable --now berthd\n") +
    (scripts === undefined ? "" : "start it: rc-update add berthd default && rc-service berthd start\n");
  await Bun.write(Bun.stdout, `installed\n${installed.join("\n")}\n${hint}${next}`);
  return 0;
}

/** Writes into a directory, which is made if it is missing. @throws Error that says what to do */
function within(directory: string, flag: string, write: () => void): void {
  try {
    mkdirSync(directory, { recursive: true });
    accessSync(directory, constants.W_OK);
    write();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const help = code === "EACCES" || code === "EROFS" ? `run it as root, or choose another ${flag}` : message;
    throw new Error(`cannot write to ${directory}: ${help}`);
  }
}

/** Makes `path` anew by rename, so that nobody ever meets half of it. */
function replace(path: string, make: (temporary: string) => void): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    make(temporary);
    renameSync(temporary, path);
  } finally {
    rmSync(temporary, { force: true });
  }
}
