/** Coming by a connection to a shim: by starting one, by finding one that runs, or through a sandbox. */

import { readFile, rename, writeFile } from "node:fs/promises";
import { ContainerdError, messageOf, unknown } from "../../proto/errdefs.ts";
import type { Log } from "../log/log.ts";
import type { Bundle } from "./bundle.ts";
import { type Endpoint, endpointText, parseEndpoint } from "./endpoint.ts";
import { type Any, type Caller, startShim } from "./launch.ts";
import type { ShimPool } from "./pool.ts";
import type { Program } from "./program.ts";
import { Shim } from "./shim.ts";
import { parseShimLine, readShimLog } from "./shimlog.ts";
import { Task } from "./task.ts";

/** What every way needs. */
export interface Opening {
  readonly bundle: Bundle;
  readonly program: Program;
  readonly caller: Caller;
  readonly log: Log;
  /** Waiting processes of our own shim. */
  readonly pool?: ShimPool | undefined;
}

/**
 * Starts a shim for a new bundle.
 * @throws ContainerdError Unknown
 */
export async function openNew(opening: Opening, options: Any | undefined): Promise<Task> {
  const { bundle, program, caller, log, pool } = opening;
  return withLog(opening, async (stopLog) => {
    const warn = (text: string): void => log.warn("shim start", { ...fieldsOf(bundle), warnings: text });
    const kept = writeFile(bundle.file("program"), program.path, { mode: 0o600 });
    const [endpoint] = await Promise.all([startShim(program, caller, bundle, options, warn, pool), kept]);
    const shim = await Shim.connect(endpoint, bundle.namespace, program.isOwn).catch((error: unknown) => {
      throw prefixed("start failed", error);
    });
    return keepEndpoint(opening, { shim, stopLog, sandbox: "" });
  });
}

/**
 * Uses the shim of a sandbox for a new bundle.
 * @throws ContainerdError Unknown when it cannot be reached
 */
export async function openInSandbox(opening: Opening, sandbox: string, endpoint: Endpoint): Promise<Task> {
  const { bundle, program } = opening;
  return withLog(opening, async (stopLog) => {
    await writeFile(bundle.file("sandbox"), sandbox, { mode: 0o600 });
    const shim = await Shim.connect(endpoint, bundle.namespace, program.isOwn).catch((error: unknown) => {
      throw prefixed(`failed to load sandbox task ${JSON.stringify(sandbox)}`, error);
    });
    return keepEndpoint(opening, { shim, stopLog, sandbox });
  });
}

/**
 * Connects to the shim of a bundle that an earlier daemon made.
 * @throws Error when it does not say where its shim is, or nobody answers there
 */
export async function openFound(opening: Opening): Promise<Task> {
  const { bundle, program } = opening;
  return withLog(opening, async (stopLog) => {
    const endpoint = await readEndpoint(bundle);
    const sandbox = (await textOf(bundle.file("sandbox"))) ?? "";
    const shim = await Shim.connect(endpoint, bundle.namespace, program.isOwn);
    return new Task({ bundle, program, shim, sandbox, stopLog });
  });
}

/** Reads where the shim is; a bundle of containerd before 2.0 has the address alone (ST-11). @throws Error */
async function readEndpoint(bundle: Bundle): Promise<Endpoint> {
  const kept = await textOf(bundle.file("endpoint"));
  if (kept !== undefined && kept.trim() !== "") return parseEndpoint(new TextEncoder().encode(kept));
  const address = await textOf(`${bundle.path}/address`);
  if (address === undefined || address.trim() === "") throw new Error(`${bundle.path} does not say where its shim is`);
  const endpoint = parseEndpoint(new TextEncoder().encode(address));
  await writeEndpoint(bundle, endpoint);
  return endpoint;
}

async function writeEndpoint(bundle: Bundle, endpoint: Endpoint): Promise<void> {
  const temporary = `${bundle.file("endpoint")}.tmp`;
  await writeFile(temporary, endpointText(endpoint), { mode: 0o644 });
  await rename(temporary, bundle.file("endpoint"));
}

async function keepEndpoint(
  { bundle, program }: Opening,
  { shim, stopLog, sandbox }: { shim: Shim; stopLog: () => void; sandbox: string },
): Promise<Task> {
  try {
    await writeEndpoint(bundle, shim.endpoint);
    return new Task({ bundle, program, shim, sandbox, stopLog });
  } catch (error) {
    shim.close();
    throw unknown(`failed to write bootstrap.json: ${messageOf(error)}`, error);
  }
}

async function withLog(opening: Opening, open: (stopLog: () => void) => Promise<Task>): Promise<Task> {
  const { bundle, log } = opening;
  let stop: () => void;
  try {
    stop = readShimLog(bundle.file("log"), (text) => {
      const { level, message, fields } = parseShimLine(text);
      log[level](message, { ...fields, ...fieldsOf(bundle) });
    });
  } catch (error) {
    throw unknown(`open shim log pipe: ${messageOf(error)}`, error);
  }
  try {
    return await open(stop);
  } catch (error) {
    stop();
    throw error;
  }
}

/** What names a task in the log. */
export function fieldsOf({ namespace, id }: { namespace: string; id: string }): { namespace: string; id: string } {
  return { namespace, id };
}

/** The error with words before its own; the code stays. */
export function prefixed(prefix: string, error: unknown): ContainerdError {
  const message = `${prefix}: ${messageOf(error)}`;
  return error instanceof ContainerdError
    ? new ContainerdError(error.code, message, { cause: error })
    : unknown(message, error);
}

/** The text of a small file; undefined when there is none. */
export async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
