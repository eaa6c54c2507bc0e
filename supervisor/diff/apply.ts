/**
 * `berth layer apply`: applies one layer in this process, which has mounts and a root of its own, and loses what rights
 * it does not need before it looks at the layer. All its work is synchronous system calls: there is nobody to wait for.
 */

import {
  Capability,
  changeRoot,
  dieWithParent,
  forbidNewPrivileges,
  keepCapabilities,
  limitResource,
  Resource,
  readAll,
  setUmask,
  syncFileSystem,
  unshareMounts,
} from "../../shim/linux/index.ts";
import { answer } from "./answer.ts";
import { LayerInput } from "./input.ts";
import type { Applied, ApplyRequest } from "./request.ts";
import { TarReader } from "./tar/reader.ts";
import { openTarget } from "./target.ts";
import { Unpacker } from "./unpack.ts";

const MAX_REQUEST = 16 << 20;

/** What unpacking needs: owners, modes and devices of others, and the trusted marks of overlayfs. */
const kept = [
  Capability.CHOWN,
  Capability.DAC_OVERRIDE,
  Capability.FOWNER,
  Capability.FSETID,
  Capability.MKNOD,
  Capability.SETFCAP,
  Capability.SYS_ADMIN,
  Capability.SYS_RESOURCE,
];

/** Reads the request from standard input and answers on standard output. @returns the exit status */
export function apply(): Promise<number> {
  return answer(() => applyLayer(JSON.parse(new TextDecoder().decode(readAll(0, MAX_REQUEST))) as ApplyRequest));
}

function applyLayer(request: ApplyRequest): Applied {
  dieWithParent(request.parent);
  forbidNewPrivileges();
  limitResource(Resource.CORE, 0);
  setUmask(0);
  const input = new LayerInput(request.blob, request.compression, request.limits);
  unshareMounts();
  const target = openTarget(request.mounts, request.mountPoint);
  changeRoot(target.root);
  keepCapabilities(kept);
  const reader = new TarReader((buffer, from, to) => input.read(buffer, from, to));
  new Unpacker(reader, target, request.limits).run();
  reader.drain();
  if (request.sync) syncFileSystem(target.root);
  return { digest: input.digest(), size: input.size };
}
