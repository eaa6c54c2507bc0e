/**
 * Where a shim listens and what it speaks: as `start` answers it, and as the bundle keeps it in bootstrap.json (contract
 * ST-4, ST-11).
 */

import { messageOf, notImplemented } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";

const { BootstrapResult } = containerd.runtime.bootstrap.v1;

/** How to reach a shim. */
export interface Endpoint {
  /** Version of the Task service, 2 or 3. */
  readonly version: number;
  /** `ttrpc` or `grpc`. */
  readonly protocol: string;
  /** `unix://` and a path; without `unix://` an abstract name. */
  readonly address: string;
}

const MAX_VERSION = 3;
/** The first byte of a BootstrapResult, field 1 as a varint; no text starts with it. */
const RESULT = 0x08;

/**
 * Reads what `start` printed: a BootstrapResult (containerd 2.3 and later), JSON (1.7 and later), or the address alone,
 * which means version 2 over ttrpc.
 * @throws ContainerdError Unimplemented for a version that is not known
 */
export function parseEndpoint(answer: Uint8Array): Endpoint {
  const found = answer[0] === RESULT ? fromResult(answer) : fromText(new TextDecoder().decode(answer).trim());
  if (found.version > MAX_VERSION) throw notImplemented(`unsupported shim version (${found.version}): not implemented`);
  return found;
}

function fromResult(answer: Uint8Array): Endpoint {
  try {
    const { version, protocol, address } = BootstrapResult.decode(answer);
    return { version: version || 2, protocol: protocol.toLowerCase() || "ttrpc", address };
  } catch (error) {
    throw new Error(`the shim's answer is no BootstrapResult: ${messageOf(error)}`);
  }
}

function fromText(text: string): Endpoint {
  try {
    const { version, protocol, address } = JSON.parse(text) as Partial<Endpoint>;
    if (typeof version === "number" && version >= 2) {
      return { version, protocol: String(protocol ?? "").toLowerCase(), address: String(address ?? "") };
    }
  } catch {
    // Not JSON: the address itself.
  }
  return { version: 2, protocol: "ttrpc", address: text };
}

/** The text of bootstrap.json, in the order of fields that containerd writes. */
export function endpointText({ version, address, protocol }: Endpoint): string {
  return JSON.stringify({ version, address, protocol });
}

/** The address as sandboxes and their clients name it, such as `ttrpc+unix:///run/…`. */
export function qualifiedAddress({ protocol, address }: Endpoint): string {
  return `${protocol}+${address}`;
}

/** The name of the socket for connect(2): a path, or an abstract name after a NUL. @throws Error for another kind */
export function socketName(address: string): string {
  if (address.startsWith("unix://")) return address.slice("unix://".length);
  if (/^[a-z]+:\/\//.test(address)) throw new Error(`shim address ${address}: only unix sockets are supported`);
  return `\0${address}`;
}
