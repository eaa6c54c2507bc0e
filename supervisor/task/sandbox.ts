/** Sandboxes that shims run (plugins/sandbox/controller.go). */

import { unknown } from "../../proto/errdefs.ts";
import type { Endpoint } from "./endpoint.ts";

/** The sandboxes of one daemon. */
export class Sandboxes {
  /** Where the shim of a sandbox is. @throws ContainerdError Unknown when there is no such sandbox */
  endpointOf(_namespace: string, id: string): Endpoint {
    throw unknown(`failed to start shim: can't find sandbox ${id}`);
  }
}
