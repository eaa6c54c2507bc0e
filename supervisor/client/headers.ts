/** The headers of a call (pkg/namespaces/grpc.go, core/leases/grpc.go). */

import { Metadata } from "@grpc/grpc-js";
import type { CallOptions } from "./api.ts";

/** The headers that a call's options ask for. */
export function headersOf({ namespace, lease }: CallOptions): Metadata {
  const metadata = new Metadata();
  if (namespace !== undefined) metadata.set("containerd-namespace", namespace);
  if (lease !== undefined) metadata.set("containerd-lease", lease);
  return metadata;
}
