/** What every call comes with: its namespace, its lease, and the news that its caller has gone. */

import type { Metadata } from "@grpc/grpc-js";
import { ContainerdError, failedPrecondition } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { validateIdentifier } from "../store/identifier.ts";

/** Headers of containerd's clients (pkg/namespaces/grpc.go, core/leases/grpc.go). */
const NAMESPACE = "containerd-namespace";
const LEASE = "containerd-lease";

/** A call as its handler sees it. */
export class CallContext {
  /** Aborted when the caller has gone, or its deadline has passed. */
  readonly signal: AbortSignal;
  readonly #metadata: Metadata;

  constructor(metadata: Metadata, signal: AbortSignal) {
    this.#metadata = metadata;
    this.signal = signal;
  }

  /** The first value of a header; undefined when it is not there or empty. */
  header(name: string): string | undefined {
    const [value] = this.#metadata.get(name);
    return value === undefined || value.length === 0 ? undefined : value.toString();
  }

  /**
   * The namespace that the call is in.
   * @throws ContainerdError FailedPrecondition when the header is missing, InvalidArgument when it is no identifier
   */
  get namespace(): string {
    const namespace = this.header(NAMESPACE);
    if (namespace === undefined) throw failedPrecondition("namespace is required: failed precondition");
    validateIdentifier(namespace, "namespace validation: ");
    return namespace;
  }

  /** The lease that keeps what the call makes, if the caller named one. */
  get lease(): string | undefined {
    return this.header(LEASE);
  }

  /** @throws ContainerdError Canceled when the caller has gone */
  throwIfCanceled(): void {
    if (this.signal.aborted) throw new ContainerdError(Code.Canceled, "context canceled");
  }
}
