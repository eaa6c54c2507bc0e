/** Faults of rootfs[], and of the options that Create is given. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Fault } from "../fault.ts";
import { Reply, type RequestOf, type RpcCall } from "../rpc.ts";
import { accepts, asks } from "./make.ts";

type Mount = RequestOf<"Create">["rootfs"][number];

const generic = "runtimeoptions.v1.Options";
const text = (bytes: Uint8Array | null | undefined): string => new TextDecoder().decode(bytes ?? new Uint8Array());

/** Changes each mount of a Create. */
function mounts(change: (mount: Mount) => void): NonNullable<Fault["rpc"]> {
  return asks("Create", (request) => {
    for (const mount of request.rootfs) change(mount);
  });
}

/** Changes generic options of a Create; undefined takes them away. */
function genericOptions(change: (value: string) => string | undefined): NonNullable<Fault["rpc"]> {
  return asks("Create", (request) => {
    if (request.options?.type_url !== generic) return;
    const changed = change(Buffer.from(request.options.value ?? []).toString("latin1"));
    request.options = changed === undefined ? null : { type_url: generic, value: Buffer.from(changed, "latin1") };
  });
}

/** What a mount asks for, in one word. */
const asksFor = (call: RpcCall, option: string): boolean =>
  call.is("Create") && call.request("Create").rootfs.some(({ options }) => options?.includes(option));

export const mountFaults: readonly Fault[] = [
  {
    name: "an overlay's upper directory is not used",
    by: ["UN-1.overlay"],
    rpc: mounts((mount) => {
      if (mount.type !== "overlay") return;
      const lower = mount.options?.find((option) => option.startsWith("lowerdir="))?.slice("lowerdir=".length);
      mount.type = "bind";
      mount.source = lower?.split(":").at(-1) ?? "";
      mount.options = ["rbind"];
    }),
  },
  {
    name: "an unknown type of mount is taken for a bind",
    by: ["UN-1.type"],
    rpc: mounts((mount) => {
      if (mount.type !== "nosuchfs") return;
      mount.type = "bind";
      mount.options = ["rbind"];
    }),
  },
  {
    name: "ro is ignored",
    by: ["UN-2.ro"],
    rpc: mounts((mount) => {
      mount.options = mount.options?.filter((option) => option !== "ro") ?? [];
    }),
  },
  {
    name: "loop is refused",
    by: ["UN-2.loop"],
    rpc: async (call, next) => (asksFor(call, "loop") ? Reply.refusal(3) : await next()),
  },
  {
    name: "a loop device is not given back",
    by: ["UN-2.loop"],
    rpc: async (call, next) => {
      if (asksFor(call, "loop")) {
        // One that the kit finds by its file, as it finds the shim's.
        const file = call.request("Create").rootfs[0]?.source ?? "";
        Bun.spawnSync(["losetup", "--find", file]);
      }
      return await next();
    },
  },
  {
    name: "generic options are ignored",
    by: ["OPT-2.body", "OPT-2.path", "OPT-2.unknown"],
    call: (call) => {
      if (text(call.stdin).includes(generic)) call.stdin = new Uint8Array();
      return undefined;
    },
    rpc: genericOptions(() => undefined),
  },
  {
    name: "generic options are refused",
    by: ["OPT-2.body", "OPT-2.path", "OPT-2.unknown"],
    rpc: async (call, next) =>
      call.is("Create") && call.request("Create").options?.type_url === generic ? Reply.refusal(3) : await next(),
  },
  {
    name: "unknown keys of generic options are ignored",
    by: ["OPT-2.unknown"],
    // Of the same length, since a length stands before it.
    rpc: genericOptions((value) => value.replace("NoSuchKey = true", "NoPivotRoot=true")),
  },
  {
    name: "the rootfs is mounted twice",
    by: ["T-CRE-2.rootfs"],
    also: ["*"],
    rpc: asks("Create", (request) => {
      request.rootfs = [...request.rootfs, ...request.rootfs];
    }),
  },
  {
    name: "a container without config.json is told to be there",
    by: ["T-CRE-4.no-config"],
    rpc: accepts("Create", {
      fields: { pid: 1 },
      when: (call) => !existsSync(join(call.request("Create").bundle, "config.json")),
    }),
  },
];
