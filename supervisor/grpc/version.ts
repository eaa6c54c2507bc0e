/** The Version service. */

import { apiRevision, apiVersion } from "../introspection/version.ts";
import type { Handlers } from "./server.ts";

export function versionService(): Handlers<"containerd.services.version.v1.Version"> {
  return { Version: () => ({ version: apiVersion, revision: apiRevision }) };
}
