/** How each version of containerd calls `start`, and what it takes for an answer (contract ST-1 to ST-6). */

import { show } from "../assert.ts";
import { Violation } from "../check.ts";
import type { Any } from "./task.ts";
import { bytesField, concat, type Field, readFields, varintField } from "./wire.ts";

/** A version of containerd, as far as a shim can tell. */
export interface Dialect {
  readonly containerd: string;
  /** Puts BootstrapParams on stdin, instead of the bare options (ST-2). */
  readonly bootstrap: boolean;
  /** Sends GRPC_ADDRESS, NAMESPACE and MAX_SHIM_VERSION (INV-4). */
  readonly environment: boolean;
  /** The highest version that it takes in a JSON answer; 0 where only a plain address will do (ST-4). */
  readonly jsonVersion: number;
  /** What it sends as socket_dir, unless it is configured otherwise. */
  readonly socketDir?: string;
}

export const dialects = {
  "1.6": { containerd: "1.6", bootstrap: false, environment: false, jsonVersion: 0 },
  "1.7": { containerd: "1.7", bootstrap: false, environment: true, jsonVersion: 2 },
  "2.0": { containerd: "2.0", bootstrap: false, environment: true, jsonVersion: 3 },
  "2.2": { containerd: "2.2", bootstrap: false, environment: true, jsonVersion: 3 },
  "2.3": { containerd: "2.3", bootstrap: true, environment: true, jsonVersion: 3 },
  "2.4": { containerd: "2.4", bootstrap: true, environment: true, jsonVersion: 3, socketDir: "/run/containerd/s" },
} as const satisfies Record<string, Dialect>;

/** What `start` is told, whatever the dialect. */
export interface StartCall {
  readonly id: string;
  readonly namespace: string;
  /** Of containerd's gRPC socket; its ttrpc socket is the same with `.ttrpc`. */
  readonly address: string;
  readonly publisher: string;
  readonly options?: Any | undefined;
  readonly debug?: boolean;
  readonly socketDir?: string;
}

/** An Any as bytes. */
export function anyBytes({ type_url, value }: Any): Uint8Array {
  return concat(bytesField(1, type_url), ...(value.length === 0 ? [] : [bytesField(2, value)]));
}

/** What stands on stdin of `start`. */
export function startStdin(dialect: Dialect, call: StartCall): Uint8Array {
  const { socketDir = dialect.socketDir } = call;
  const options = call.options === undefined ? new Uint8Array() : anyBytes(call.options);
  if (!dialect.bootstrap) return options;
  return concat(
    bytesField(1, call.id),
    bytesField(2, call.namespace),
    // DEBUG is -4, which has ten bytes; INFO is 0 and not sent.
    ...(call.debug ? [varintField(3, -4n)] : []),
    bytesField(4, `v${dialect.containerd}.0`),
    bytesField(5, `${call.address}.ttrpc`),
    bytesField(6, call.address),
    bytesField(7, call.publisher),
    ...(options.length === 0 ? [] : [bytesField(8, bytesField(1, options))]),
    ...(socketDir === undefined ? [] : [bytesField(9, socketDir)]),
  );
}

/** The environment that a dialect adds. */
export function startEnvironment(dialect: Dialect, call: StartCall): Record<string, string> {
  const old = { GOMAXPROCS: "2", TTRPC_ADDRESS: `${call.address}.ttrpc` };
  if (!dialect.environment) return old;
  return { ...old, MAX_SHIM_VERSION: "2", GRPC_ADDRESS: call.address, NAMESPACE: call.namespace };
}

/** Where a shim says that it listens. */
export interface ShimAddress {
  readonly version: number;
  readonly address: string;
  readonly protocol: string;
  readonly form: "plain" | "json" | "bootstrap";
}

/** Reads stdout of `start` as a version of containerd does. @throws Violation for what that version refuses */
export function readAnswer(dialect: Dialect, stdout: Uint8Array): ShimAddress {
  const expected = `stdout of start to be an address as containerd ${dialect.containerd} reads it`;
  const found = (dialect.bootstrap ? readBootstrap(stdout) : undefined) ?? readText(dialect, stdout);
  if (found === undefined || found.address === "")
    throw new Violation(expected, show(new TextDecoder().decode(stdout)));
  const highest = found.form === "plain" ? 2 : dialect.jsonVersion;
  if (found.version < 2 || found.version > highest) {
    throw new Violation(`${expected}, of version 2${highest > 2 ? ` to ${highest}` : ""}`, `version ${found.version}`);
  }
  return found;
}

function readBootstrap(stdout: Uint8Array): ShimAddress | undefined {
  let fields: Field[];
  try {
    fields = readFields(stdout);
  } catch {
    return undefined;
  }
  const text = (number: number): string =>
    new TextDecoder().decode(fields.find((field) => field.number === number)?.bytes);
  const version = Number(fields.find(({ number }) => number === 1)?.value ?? 0n);
  return { version, address: text(2), protocol: text(3), form: "bootstrap" };
}

function readText(dialect: Dialect, stdout: Uint8Array): ShimAddress | undefined {
  const text = new TextDecoder().decode(stdout).trim();
  if (dialect.jsonVersion > 0 && text.startsWith("{")) {
    try {
      const { version, address, protocol } = JSON.parse(text) as Partial<ShimAddress>;
      return { version: version ?? 0, address: address ?? "", protocol: protocol ?? "", form: "json" };
    } catch {
      return undefined;
    }
  }
  // Whatever is no address is an error when containerd dials it, not here; a person is better told at once.
  if (!/^[^\s{}]+$/.test(text)) return undefined;
  return { version: 2, address: text, protocol: "ttrpc", form: "plain" };
}

/** The path of a unix socket's address; undefined for vsock and the like (SK-4). */
export function socketPath(address: string): string | undefined {
  if (address.startsWith("unix://")) return address.slice("unix://".length);
  return /^[a-z]+:\/\//.test(address) ? undefined : `\0${address}`;
}
