/** What every verb that speaks to a daemon begins and ends with: the connection, and the exit status of what failed. */

import { accessSync, constants, existsSync } from "node:fs";
import type { Command } from "commander";
import { messageOf } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { type Api, CallError } from "../client/api.ts";
import { ExitStatus, FAILED } from "./status.ts";

/** Where berthd listens unless told. */
const ADDRESS = "/run/berth/berth.sock";
const NAMESPACE = "default";
/** Calls that answer once have so long; Wait and other calls that may take for ever name none. */
const CALL_MS = 120_000;

/** What a verb works with. */
export interface Connection {
  readonly api: Api;
  readonly namespace: string;
  /** Path of the daemon's socket. */
  readonly address: string;
}

/** The namespace and the socket that flags and environment ask for. */
export function placeOf(command: Command): { namespace: string; address: string } {
  const options: { namespace?: string; address?: string } = command.optsWithGlobals();
  const { env } = process;
  const address = options.address || env["BERTH_ADDRESS"] || env["CONTAINERD_ADDRESS"] || ADDRESS;
  return {
    namespace: options.namespace || env["CONTAINERD_NAMESPACE"] || NAMESPACE,
    address: address.replace(/^unix:\/\//, ""),
  };
}

/**
 * Runs the body of a verb on a connection. The exit status is the number that it returns (0 for anything else), or that
 * of an {@link ExitStatus}; any other error is printed as `berth VERB: ...`, and the status is `failure`.
 */
export async function withApi(
  command: Command,
  body: (connection: Connection) => Promise<unknown>,
  failure: number = FAILED,
): Promise<void> {
  const { namespace, address } = placeOf(command);
  await withStatus(command, failure, async () => {
    reachable(address);
    const { GrpcClient } = await import("../client/grpc.ts");
    const api = new GrpcClient(address, { deadlineMs: CALL_MS });
    try {
      return await body({ api, namespace, address });
    } catch (error) {
      throw advised(error, address);
    } finally {
      api.close();
    }
  });
}

/** Runs the body of a verb that needs no daemon, with the same errors and statuses. */
export async function withStatus(command: Command, failure: number, body: () => Promise<unknown>): Promise<void> {
  try {
    const status = await body();
    process.exitCode = typeof status === "number" ? status : 0;
  } catch (error) {
    process.exitCode = error instanceof ExitStatus ? error.status : failure;
    if (!(error instanceof ExitStatus)) process.stderr.write(`berth ${pathOf(command)}: ${messageOf(error)}\n`);
  }
}

/** The words of a command, such as `network create`. */
function pathOf(command: Command): string {
  const words: string[] = [];
  for (let at: Command | null = command; at !== null && at.parent !== null; at = at.parent) words.unshift(at.name());
  return words.join(" ");
}

/** @throws Error that says what to do when there is nothing to connect to */
function reachable(address: string): void {
  if (!existsSync(address)) throw new Error(unreachable(address, "there is no such socket"));
  try {
    accessSync(address, constants.R_OK | constants.W_OK);
  } catch {
    throw new Error(`may not use ${address}: run it as root, or as a member of the group that [grpc] gid names`);
  }
}

function unreachable(address: string, why: string): string {
  const start = "start berthd (systemctl start berthd), or name the socket of another daemon with --address";
  return `no daemon answers at ${address}: ${why}; ${start}`;
}

/** The error, with what to do where only the connection shows it. */
function advised(error: unknown, address: string): unknown {
  const { code, path } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") {
    const where = path === undefined ? "" : ` of ${path}`;
    const what = "berth system df shows what takes it, berth rm, rmi and system evict make room";
    return new Error(`no room left on the disk${where}: ${what}`, { cause: error });
  }
  if (!(error instanceof CallError)) return error;
  if (error.code === Code.Unavailable && /connection|connect /i.test(error.details)) {
    return new Error(unreachable(address, "nobody listens there"));
  }
  if (error.code === Code.Unimplemented && /berth\.v1|unknown service|not served/.test(error.details)) {
    return new Error(`this needs berthd, and the daemon at ${address} is another: ${error.details}`);
  }
  return error;
}
