/**
 * The binary calls of a shim, as the daemon makes them (contract 1.1 to 1.4): `start`, `delete`, `-info`. The dialect is
 * the one that every shim understands: flags, environment, options on stdin.
 */

import { deadlines } from "../../proto/deadlines.ts";
import { unknown } from "../../proto/errdefs.ts";
import { containerd, google } from "../../proto/gen/supervisor.js";
import type { Bundle } from "./bundle.ts";
import { makeCall, type Result } from "./call.ts";
import { type Endpoint, parseEndpoint } from "./endpoint.ts";
import type { Exit } from "./exit.ts";
import type { ShimPool } from "./pool.ts";
import type { Program } from "./program.ts";

/** What shims are told about the daemon. */
export interface Caller {
  /** Path of the gRPC socket; it is part of the name of a shim's socket, so it must not change while shims live. */
  readonly address: string;
  /** Path of the socket for events. */
  readonly ttrpcAddress: string;
  /** Of the configuration, for shims alone. */
  readonly env: Readonly<Record<string, string>>;
  readonly debug: boolean;
}

export type Any = google.protobuf.Any.$Properties;

/**
 * Starts the shim of a bundle.
 * @param pool waiting processes of our own shim
 * @returns where it listens
 * @throws ContainerdError Unknown with what the shim said
 */
export async function startShim(
  program: Program,
  caller: Caller,
  bundle: Bundle,
  options: Any | undefined,
  warn: (text: string) => void,
  pool?: ShimPool,
): Promise<Endpoint> {
  const input = options && google.protobuf.Any.encode(options).finish();
  const args = [...flagsOf(caller, bundle), ...(caller.debug ? ["-debug"] : [])];
  const waiting = program.isOwn ? pool?.take(bundle.path, args, input) : undefined;
  if (waiting !== undefined) {
    const result = await waiting.firstWords();
    // One that was killed while it waited said nothing, and did nothing.
    if (result.output.bytes.length > 0 || result.complaint !== "") return endpointOf(result, warn);
  }
  // berth's own `start` does nothing but start this very process: one program less to load.
  const action = program.isOwn ? "serve" : "start";
  const env = { ...environmentOf(caller), NAMESPACE: bundle.namespace };
  const request = { program, args: [...args, action], cwd: bundle.path, env };
  if (program.isOwn) return endpointOf(await makeCall({ ...request, input }).firstWords(), warn);
  const result = await makeCall({ ...request, input }).end(deadlines.shimStart);
  // A shim of containerd 2.3 or later that does not understand older callers says what it misses (ST-12).
  if (!result.status || !/bootstrap/i.test(result.complaint)) return endpointOf(result, warn);
  const params = bootstrapParams(caller, bundle, options);
  return endpointOf(await makeCall({ ...request, input: params }).end(deadlines.shimStart), warn);
}

/** What containerd 2.3 and later put on stdin of `start` (ST-2). */
function bootstrapParams(caller: Caller, bundle: Bundle, options: Any | undefined): Uint8Array {
  const { BootstrapParams, LogLevel } = containerd.runtime.bootstrap.v1;
  return BootstrapParams.encode({
    instanceId: bundle.id,
    namespace: bundle.namespace,
    logLevel: caller.debug ? LogLevel.LOG_LEVEL_DEBUG : LogLevel.LOG_LEVEL_INFO,
    containerdTtrpcAddress: caller.ttrpcAddress,
    containerdGrpcAddress: caller.address,
    containerdBinary: process.execPath,
    extensions: options === undefined ? [] : [{ value: options }],
  }).finish();
}

function endpointOf({ output, complaint, status }: Result, warn: (text: string) => void): Endpoint {
  if (status !== undefined && status !== 0) throw unknown(`start failed: ${output}${complaint}: exit status ${status}`);
  if (complaint !== "") warn(complaint);
  return parseEndpoint(output.bytes);
}

/**
 * Cleans up after a shim that is gone, in the bundle's directory. The bundle itself stays.
 * @returns how the container ended
 * @throws ContainerdError Unknown when the call failed
 */
export async function deleteShim(
  program: Program,
  caller: Caller,
  bundle: Bundle,
  warn: (text: string) => void,
): Promise<Exit> {
  const args = [...flagsOf(caller, bundle), "-bundle", bundle.path, ...(caller.debug ? ["-debug"] : []), "delete"];
  const env = { ...environmentOf(caller), NAMESPACE: bundle.namespace };
  const call = makeCall({ program, args, cwd: bundle.path, env, input: undefined });
  const { output, complaint, status } = await call.end(deadlines.shimCleanup);
  if (status !== 0) throw unknown(`${complaint}: ${status === undefined ? "signal: killed" : `exit status ${status}`}`);
  if (complaint !== "") warn(complaint);
  const { pid, exitStatus, exitedAt } = containerd.task.v2.DeleteResponse.decode(output.bytes);
  return { pid, status: exitStatus, at: exitedAt ?? undefined };
}

/**
 * Asks a shim what it is (contract IN-1).
 * @returns an encoded containerd.types.RuntimeInfo
 * @throws ContainerdError Unknown in containerd's words
 */
export async function shimInfo(program: Program, options: Any | undefined): Promise<Uint8Array> {
  const input = options && google.protobuf.Any.encode(options).finish();
  const call = makeCall({ program, args: ["-info"], cwd: ".", env: {}, input });
  const { output, complaint, status } = await call.end(deadlines.shimCleanup);
  if (status !== 0) {
    const why = status === undefined ? "signal: killed" : `exit status ${status}`;
    throw unknown(`failed to run [${program.path} -info]: ${why} (stderr: ${JSON.stringify(complaint)})`);
  }
  return output.bytes;
}

/** Flags that every binary call has (INV-2). */
function flagsOf({ address }: Caller, { namespace, id }: Bundle): string[] {
  return ["-namespace", namespace, "-address", address, "-publish-binary", process.execPath, "-id", id];
}

/** What every binary call has in its environment, but its namespace (INV-4). */
export function environmentOf({ address, ttrpcAddress, env }: Caller): Record<string, string> {
  return { MAX_SHIM_VERSION: "2", TTRPC_ADDRESS: ttrpcAddress, GRPC_ADDRESS: address, GOMAXPROCS: "2", ...env };
}
