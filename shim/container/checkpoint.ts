/** Checkpoint and restore by criu, through runc (contract 1.11). */

import { failedPrecondition, messageOf } from "../../proto/errdefs.ts";
import type { containerd } from "../../proto/gen/shim.js";
import { makeDirectories, readFileIfExists, replaceFile } from "../linux/file.ts";
import type { Stdio } from "../process/stdio/stdio.ts";
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
  try {
    await runc.checkpoint(container.id, checkpointArguments(options, imagePath, workPath));
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
    await runc.restore(id, {
      bundle: bundle.path,
      pidFile: bundle.initPidFile,
      log: bundle.logFile,
      imagePath: request.checkpoint,
      workPath,
      consoleSocket: stdio.console?.path,
      noPivot: request.options.noPivotRoot,
      stdio: stdio.fds,
    });
  } catch (error) {
    throw failure("restore", error, bundle, `${workPath}/restore.log`);
  }
}

/** criu's first error line, and its log kept in the bundle (CP-2). */
function failure(what: string, error: unknown, bundle: Bundle, logPath: string) {
  const text = readFileIfExists(logPath);
  const kept = `${bundle.path}/criu-${what === "restore" ? "restore" : "dump"}.log`;
  if (text === undefined) {
    return failedPrecondition(`${what} failed: ${messageOf(error)}; is criu installed, and does it run here?`);
  }
  replaceFile(kept, text);
  const first = text.split("\n").find((line) => line.includes("Error"));
  return failedPrecondition(`${what} failed: ${first?.trim() ?? messageOf(error)} path= ${kept}`);
}
