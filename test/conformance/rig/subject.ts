/** Meets the shim before the checks do: what it calls itself, and which dialect it answers. */

import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { Violation } from "../check.ts";
import type { Context, Subject } from "./context.ts";
import { type Dialect, dialects } from "./dialect.ts";
import { type Any, runcOptions } from "./task.ts";
import { bytesField, concat, readFields } from "./wire.ts";

/** How the person wants it driven. */
export interface SubjectOptions {
  readonly shim: string;
  readonly rootfs: string;
  readonly runc: string;
  readonly options?: Any | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  readonly keep: boolean;
}

/** What was learned of a shim. */
export interface Acquaintance {
  readonly subject: Subject;
  /** What it calls itself, or its path. */
  readonly name: string;
}

/**
 * Starts the shim once in the oldest dialect, and when it refuses that, in the newest.
 * @param open makes the place for one attempt
 */
export async function meet(options: SubjectOptions, open: (subject: Subject) => Context): Promise<Acquaintance> {
  let broken = "";
  for (const dialect of [dialects["2.0"], dialects["2.4"]] as const satisfies Dialect[]) {
    const subject = { ...options, dialect };
    const context = open(subject);
    try {
      const shim = await context.start(context.bundle(), { limit: 5000 });
      await shim.task.shutdown(shim.id).catch(() => undefined);
      return { subject, name: await nameOf(context) };
    } catch (error) {
      const what = error instanceof Violation ? `${error.expected}: ${error.received}` : (error as Error).message;
      const notes = context.transcript.entries.filter(({ kind }) => kind === "note").map(({ text }) => ` (${text})`);
      broken += `${broken && "; "}as containerd ${dialect.containerd}: ${what}${notes.join("")}`;
    } finally {
      context.close();
    }
  }
  return { subject: { ...options, dialect: dialects["2.0"], broken }, name: options.shim };
}

async function nameOf(context: Context): Promise<string> {
  const { shim } = context.subject;
  try {
    const { stdout } = await context.call(["-v"], { limit: 3000 });
    const words = new TextDecoder().decode(stdout).split(/\s+/).filter(Boolean).slice(0, 5);
    return words.length === 0
      ? shim
      : `${shim.split("/").at(-1)} ${/Version:\s*(\S+)/.exec(words.join(" "))?.[1] ?? ""}`.trim();
  } catch {
    return shim;
  }
}

const fields = {
  no_pivot_root: "noPivotRoot",
  no_new_keyring: "noNewKeyring",
  shim_cgroup: "shimCgroup",
  io_uid: "ioUid",
  io_gid: "ioGid",
  binary_name: "binaryName",
  root: "root",
  systemd_cgroup: "systemdCgroup",
  criu_image_path: "criuImagePath",
  criu_work_path: "criuWorkPath",
} as const;

/** Numbers of the fields of runtimeoptions.v1.Options, which containerd sends to every runtime but its own. */
const genericFields = { type_url: 1, config_path: 2, config_body: 3 } as const;

/**
 * The runtime options of a run.
 * @param path what `--options` says: JSON with fields of runc's or of generic options, or a serialized Any
 * @param runc what `--runc` says @throws Error in one sentence
 */
export function readRuntimeOptions(path: string | undefined, runc: string | undefined): Any {
  const own = runc === undefined ? {} : { binaryName: runc };
  if (path === undefined) return runcOptions(own);
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new Error(`--options ${path}: ${(error as Error).message}`);
  }
  const text = new TextDecoder().decode(bytes);
  if (!text.trimStart().startsWith("{")) return readAny(bytes, path);
  const given = JSON.parse(text) as Record<string, unknown>;
  if (Object.keys(given).some((key) => key in genericFields)) return readGeneric(given, path);
  const options: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(given)) {
    if (!(key in fields)) throw new Error(`--options ${path}: containerd.runc.v1.Options has no field ${key}`);
    options[fields[key as keyof typeof fields]] = value;
  }
  return runcOptions({ ...options, ...own });
}

function readGeneric(given: Readonly<Record<string, unknown>>, path: string): Any {
  const parts = Object.entries(given).map(([key, value]) => {
    if (!(key in genericFields)) throw new Error(`--options ${path}: runtimeoptions.v1.Options has no field ${key}`);
    // A path is the shim's to open, wherever it runs.
    const text = key === "config_path" ? resolve(dirname(path), String(value)) : String(value);
    return bytesField(genericFields[key as keyof typeof genericFields], text);
  });
  return { type_url: "runtimeoptions.v1.Options", value: concat(...parts) };
}

function readAny(bytes: Uint8Array, path: string): Any {
  try {
    const parts = readFields(new Uint8Array(bytes));
    const part = (number: number): Uint8Array =>
      parts.find((field) => field.number === number)?.bytes ?? new Uint8Array();
    if (part(1).length === 0) throw new Error("it has no type URL");
    return { type_url: new TextDecoder().decode(part(1)), value: part(2) };
  } catch (error) {
    throw new Error(`--options ${path} is neither JSON nor a serialized Any: ${(error as Error).message}`);
  }
}
