/** What modules are generated, and protobufjs' two ways to them: its parser, and its command pbjs. For builds. */

import { join } from "node:path";
import protobuf from "protobufjs";

/** The folder of our .proto files. */
const root = join(import.meta.dir, "..");

/** Files of the services that the daemon answers. */
const services = [
  ...[
    "containers",
    "content",
    "diff",
    "events",
    "images",
    "introspection",
    "leases",
    "mounts",
    "namespaces",
    "sandbox",
  ],
  ...["snapshots", "streaming", "tasks", "transfer", "version"],
].map((name) => `containerd/services/${name}.proto`);

/**
 * Module name to the files it is made of; files they import come along. One module per reader, because what a module
 * holds is paid for in memory by every process that loads it: the serving shim loads `shim`, and the cgroup metrics only
 * when the first Stats call comes.
 */
export const modules: Readonly<Record<string, readonly string[]>> = {
  ttrpc: ["ttrpc/ttrpc.proto", "ttrpc/status.proto"],
  shim: [
    "containerd/task.proto",
    "containerd/process.proto",
    "containerd/types.proto",
    "containerd/events.proto",
    "containerd/forward.proto",
    "containerd/runc.proto",
    "containerd/runtimeoptions.proto",
    "containerd/bootstrap.proto",
  ],
  cgroups1: ["containerd/cgroups1.proto"],
  cgroups2: ["containerd/cgroups2.proto"],
  supervisor: [
    ...services,
    "berth/apps.proto",
    "berth/disk.proto",
    "berth/images.proto",
    "berth/repair.proto",
    "grpc/health.proto",
    "berth/health.proto",
    "berth/upkeep.proto",
    "containerd/task.proto",
    "containerd/process.proto",
    "containerd/types.proto",
    "containerd/events.proto",
    "containerd/forward.proto",
    "containerd/runc.proto",
    "containerd/runtimeoptions.proto",
    "containerd/runtime-sandbox.proto",
    "containerd/transfer.proto",
    "containerd/metadata-events.proto",
    "containerd/bootstrap.proto",
  ],
};

/**
 * Parses .proto files as pbjs does.
 * @param files relative to proto/, or absolute
 * @throws Error for a file that is missing or wrong
 */
export function parse(files: readonly string[]): protobuf.Root {
  const parsed = new protobuf.Root();
  parsed.resolvePath = (_origin, target) => {
    // The files of google/protobuf are built into protobufjs, which knows them by name.
    const common = /google\/protobuf\/.*$/.exec(target)?.[0];
    return common !== undefined && protobuf.common.get(common)
      ? common
      : join(target.startsWith("/") ? "" : root, target);
  };
  return parsed.loadSync([...files]);
}

const flags = ["--no-verify", "--no-convert", "--no-delimited", "--no-typeurl", "--no-service", "--no-create"];

/**
 * Writes the static module of pbjs and its declarations beside it.
 * @param target path of the module, ending in .js
 * @param name under which pbjs keeps the module's types: two modules of one name get into each other's way
 * @throws Error when pbjs fails
 */
export async function runPbjs(target: string, name: string, files: readonly string[]): Promise<void> {
  const pbjs = Bun.spawn(
    [
      join(root, "../node_modules/.bin/pbjs"),
      ...["-t", "static-module", "-w", "esm", "--dts", "-r", name, "-p", root, "-o", target],
      ...flags,
      ...files.map((file) => join(file.startsWith("/") ? "" : root, file)),
    ],
    { cwd: root, stdout: "inherit", stderr: "pipe" },
  );
  const [exitCode, stderr] = await Promise.all([pbjs.exited, new Response(pbjs.stderr).text()]);
  if (exitCode !== 0) throw new Error(`pbjs failed on ${name} with status ${exitCode}: ${stderr}`);
}
