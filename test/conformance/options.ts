/** The command line of the kit. */

import { parseArgs } from "node:util";
import type { Level, Selection } from "./check.ts";

export const usage = `usage: berth conformance --shim PATH [OPTION...]
       berth conformance merge REPORT.json... [--format html|text|json] [--report FILE]
       berth conformance --list [--only ID] [--level must]

  --shim PATH        the shim to check, such as /usr/bin/containerd-shim-runc-v2
  --only ID          only these checks: an id of the contract, or a glob; repeatable, or separated by commas
  --skip ID          not these
  --level must       only rules without which containerd or a client breaks; should (the default): all
  --list             print the checks
  --runc PATH        the runc that the shim is told to use
  --options FILE     runtime options: JSON with the fields of containerd.runc.v1.Options or of
                     runtimeoptions.v1.Options, or a serialized Any
  --annotation K=V   in the config.json of every container, as a client of this shim would set it; repeatable
  --rootfs DIR|TAR   the tree that containers have as their root; a small one is made unless told
  --expected FILE    known deviations: a listed failure is not one, a listed check that passes is
  --format FORMAT    text (the default), tap, junit, json or html
  --report FILE      where the report goes instead of stdout; repeatable, the ending chooses the format of each
  --jobs N           checks at a time (default: 2)
  --timeout SECONDS  limit of one check (default: 30)
  --keep             leave bundles and logs
  --verbose          print all that is sent and received, to stderr

Exit status: 0 every MUST holds, 1 one does not, 2 the kit could not run.
`;

/** Formats of a report. */
export const formats = ["text", "tap", "junit", "json", "html"] as const;
export type Format = (typeof formats)[number];

/** A file to write, or stdout. */
export interface Output {
  readonly format: Format;
  readonly path?: string;
}

export interface Options {
  readonly command: "run" | "list" | "merge" | "help";
  /** Of `run`. */
  readonly shim: string;
  /** Of `merge`. */
  readonly reports: readonly string[];
  readonly selection: Selection;
  readonly runc?: string | undefined;
  readonly options?: string | undefined;
  /** Of every container. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly rootfs?: string | undefined;
  readonly expected?: string | undefined;
  /** Files, and stdout where no file is named. */
  readonly outputs: readonly Output[];
  readonly jobs: number;
  /** Milliseconds. */
  readonly timeout: number;
  readonly keep: boolean;
  readonly verbose: boolean;
}

/** The command line is wrong. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

const flags = {
  shim: { type: "string" },
  only: { type: "string", multiple: true },
  skip: { type: "string", multiple: true },
  list: { type: "boolean" },
  level: { type: "string" },
  runc: { type: "string" },
  options: { type: "string" },
  annotation: { type: "string", multiple: true },
  rootfs: { type: "string" },
  expected: { type: "string" },
  format: { type: "string" },
  report: { type: "string", multiple: true },
  jobs: { type: "string" },
  timeout: { type: "string" },
  keep: { type: "boolean" },
  verbose: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

/** @throws UsageError in one sentence */
export function parseOptions(args: readonly string[]): Options {
  const { values, positionals } = parse(args);
  const merge = positionals[0] === "merge";
  if (positionals.length > 0 && !merge) throw new UsageError(`${positionals[0]} is no option and no command`);
  const command = values.help ? "help" : values.list ? "list" : merge ? "merge" : "run";
  const reports = positionals.slice(1);
  if (command === "run" && !values.shim) throw new UsageError("--shim PATH is missing");
  if (command === "merge" && reports.length === 0)
    throw new UsageError("merge needs reports that --format json has made");
  return {
    command,
    shim: values.shim ?? "",
    reports,
    selection: {
      only: words(values.only),
      skip: words(values.skip),
      level: oneOf<Level>("--level", values.level ?? "should", ["must", "should"]),
    },
    runc: values.runc,
    options: values.options,
    annotations: pairs("--annotation", values.annotation ?? []),
    rootfs: values.rootfs,
    expected: values.expected,
    outputs: outputsOf(values.format, values.report ?? [], merge ? "html" : "text"),
    jobs: positive("--jobs", values.jobs ?? "2"),
    timeout: positive("--timeout", values.timeout ?? "30") * 1000,
    keep: values.keep ?? false,
    verbose: values.verbose ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: flags, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function words(values: readonly string[] | undefined): string[] {
  return (values ?? []).flatMap((value) => value.split(",")).filter((word) => word !== "");
}

function pairs(flag: string, values: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    values.map((value) => {
      const at = value.indexOf("=");
      if (at < 1) throw new UsageError(`${flag} is KEY=VALUE, not ${JSON.stringify(value)}`);
      return [value.slice(0, at), value.slice(at + 1)];
    }),
  );
}

function oneOf<T extends string>(flag: string, value: string, known: readonly T[]): T {
  const found = known.find((name) => name === value);
  if (found === undefined) throw new UsageError(`${flag} is one of ${known.join(", ")}, not ${JSON.stringify(value)}`);
  return found;
}

function positive(flag: string, value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1) throw new UsageError(`${flag} is a number of 1 or more, not ${value}`);
  return number;
}

const endings: Readonly<Record<string, Format>> = { txt: "text", tap: "tap", xml: "junit", json: "json", html: "html" };

function outputsOf(format: string | undefined, paths: readonly string[], usual: Format): Output[] {
  const chosen = format === undefined ? undefined : oneOf("--format", format, formats);
  if (paths.length === 0) return [{ format: chosen ?? usual }];
  const files = paths.map((path) => {
    const own = endings[path.slice(path.lastIndexOf(".") + 1)];
    return { path, format: paths.length === 1 ? (chosen ?? own ?? usual) : (own ?? chosen ?? usual) };
  });
  // A person still reads how it went.
  return usual !== "text" || files.some((file) => file.format === "text") ? files : [...files, { format: "text" }];
}
