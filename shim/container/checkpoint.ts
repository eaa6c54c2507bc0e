/** Checkpoint and restore by criu, through runc (contract 1.11). */

import { failedPrecondition, messageOf } from "../../proto/errdefs.ts";
import type { containerd } from "../../proto/gen/shim.js";
import {
  close,
  fileIdentity,
  makeDirectories,
  O,
  open,
  pathOfOpen,
  readFileIfExists,
  replaceFile,
} from "../linux/file.ts";
import type { Stdio } from "../process/stdio/stdio.ts";
import { parseTarget } from "../process/stdio/uri.ts";
import type { Runc } from "../runc/client.ts";
import type { Bundle } from "./bundle.ts";
import type { Container, CreateRequest } from "./container.ts";

type CheckpointOptions = containerd.runc.v1.CheckpointOptions.$Properties;

/** The arguments of `runc checkpoint` (CP-1). */
export function checkpointArguments(options: CheckpointOptions, imagePath: string, workPath: string): string[] {
  const args = ["--image-path", imagePath, "--work-path", workPath];
  if (options.parentPath) args.push("--parent-path", options.parentPath);
  if (options.openTcp) args.push("--tcp-established");
  if (options.externalUnixSockets) args.push("--ext-unix-sk");
  if (options.terminal) args.push("--shell-job");
  if (options.fileLocks) args.push("--file-locks");
  if (options.cgroupsMode) args.push("--manage-cgroups-mode", options.cgroupsMode);
  for (const namespace of options.emptyNamespaces ?? []) args.push("--empty-ns", namespace);
  if (!options.exit) args.push("--leave-running");
  return args;
}

/**
 * Writes a checkpoint of a running container. The container goes on unless the options say otherwise, also when criu is
 * missing or refuses (CP-4).
 * @param path where the request wants the image; options may name another place
 * @throws ContainerdError FailedPrecondition with criu's own words
 */
export async function checkpoint(
  runc: Runc,
  container: Container,
  path: string,
  options: CheckpointOptions,
): Promise<void> {
  const { bundle, request } = container;
  const imagePath = options.imagePath || path || request.options.criuImagePath;
  const workPath = options.workPath || request.options.criuWorkPath || `${bundle.path}/work`;
  if (imagePath === "") throw failedPrecondition("checkpoint: no path was given for the image");
  makeDirectories(imagePath, 0o700);
  makeDirectories(workPath, 0o700);
  const streams = externalStreams(request);
  try {
    const external = streams.map(({ key }) => `external ${key}`);
    const env = criuConfiguration(workPath, external);
    replaceFile(`${imagePath}/${streamsFile}`, JSON.stringify(streams));
    await runc.checkpoint(container.id, checkpointArguments(options, imagePath, workPath), env);
  } catch (error) {
    throw failure("checkpoint", error, bundle, `${workPath}/dump.log`);
  }
}

/** Makes init from a checkpoint (CP-3). @throws ContainerdError FailedPrecondition with criu's own words */
export async function restore(
  runc: Runc,
  id: string,
  bundle: Bundle,
  request: CreateRequest,
  stdio: Stdio,
): Promise<void> {
  const workPath = request.options.criuWorkPath || `${bundle.path}/criu-work`;
  makeDirectories(workPath, 0o700);
  try {
    const inherited = readStreams(request.checkpoint).map(({ fd, key }) => `inherit-fd fd[${fd}]:${key}`);
    await runc.restore(id, {
      bundle: bundle.path,
      pidFile: bundle.initPidFile,
      log: bundle.logFile,
      imagePath: request.checkpoint,
      workPath,
      consoleSocket: stdio.console?.path,
      noPivot: request.options.noPivotRoot,
      stdio: stdio.fds,
      env: criuConfiguration(workPath, inherited),
    });
  } catch (error) {
    throw failure("restore", error, bundle, `${workPath}/restore.log`);
  }
}

/** Lies in a checkpoint's image, and tells {@link restore} what the streams were. */
const streamsFile = "berth-streams.json";

/** A stream of init that criu finds outside of the container: a FIFO of the client's. */
interface ExternalStream {
  /** 1 for stdout, 2 for stderr. */
  readonly fd: number;
  /** As criu names it: `file[MOUNT:INODE]`, both in hexadecimal digits. */
  readonly key: string;
}

/**
 * The FIFOs that the container writes into. criu refuses a file that is in none of the container's mounts, unless it is
 * told that the file is external; runc tells it so of pipes alone.
 */
function externalStreams({ stdout, stderr, terminal }: CreateRequest): ExternalStream[] {
  const found: ExternalStream[] = [];
  for (const [fd, address] of terminal ? [] : [[1, stdout] as const, [2, stderr] as const]) {
    const target = parseTarget(address, "stream");
    if (target.kind !== "fifo") continue;
    let opened: number;
    try {
      opened = open(target.path, O.PATH);
    } catch {
      // The client has removed it: criu will say what it makes of that.
      continue;
    }
    const inode = fileIdentity(pathOfOpen(opened))?.split(":")[2];
    const mount = /^mnt_id:\s*(\d+)/m.exec(readFileIfExists(`/proc/self/fdinfo/${opened}`) ?? "")?.[1];
    close(opened);
    if (inode === undefined || mount === undefined) continue;
    const key = `file[${Number(mount).toString(16)}:${BigInt(inode).toString(16)}]`;
    if (found.every((other) => other.key !== key)) found.push({ fd, key });
  }
  return found;
}

/** What {@link checkpoint} wrote into an image; none for an image that another shim made. */
function readStreams(imagePath: string): ExternalStream[] {
  let value: unknown;
  try {
    value = JSON.parse(readFileIfExists(`${imagePath}/${streamsFile}`) ?? "[]");
  } catch {
    return [];
  }
  const isStream = (item: unknown): item is ExternalStream => {
    if (typeof item !== "object" || item === null) return false;
    const { fd, key } = item as Record<string, unknown>;
    return (fd === 1 || fd === 2) && typeof key === "string" && /^file\[[0-9a-f]+:[0-9a-f]+\]$/.test(key);
  };
  return Array.isArray(value) ? value.filter(isStream) : [];
}

/** Options of criu that runc has no flags for go by a file, beside those that the operator has there already. */
function criuConfiguration(workPath: string, lines: readonly string[]): Record<string, string> {
  if (lines.length === 0) return {};
  const before = Bun.env["CRIU_CONFIG_FILE"];
  const kept = before === undefined ? "" : (readFileIfExists(before) ?? "");
  const path = `${workPath}/criu.conf`;
  replaceFile(path, `${kept}\n${lines.join("\n")}\n`);
  return { CRIU_CONFIG_FILE: path };
}

/** What criu complains of first and goes on, or says of a helper whose own error follows. */
const harmless = /rlimit:|exited, status=/;

/** criu's first error line, and its log kept in the bundle (CP-2). */
function failure(what: string, error: unknown, bundle: Bundle, logPath: string) {
  const text = readFileIfExists(logPath);
  const kept = `${bundle.path}/criu-${what === "restore" ? "restore" : "dump"}.log`;
  if (text === undefined) {
    return failedPrecondition(`${what} failed: ${messageOf(error)}; is criu installed, and does it run here?`);
  }
  replaceFile(kept, text);
  const first = text.split("\n").find((line) => line.includes("Error") && !harmless.test(line));
  return failedPrecondition(`${what} failed: ${first?.trim() ?? messageOf(error)} path= ${kept}`);
}
