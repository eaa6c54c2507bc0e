/**
 * The 48 binary calls that containerd 1.6.20, 1.7.24, 2.1.9 and 2.4.0-beta were captured making, made again: argv,
 * environment and stdin as they were, with directories and addresses of our own in the place of theirs.
 */

import { describe, expect } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { containerd, google, runtimeoptions } from "../../proto/gen/shim.js";
import { Client } from "../../proto/ttrpc/index.ts";
import { socketPath } from "../../shim/socket.ts";
import { runcFeatures } from "../lib/oci.ts";
import { root as repository } from "../lib/paths.ts";
import { isAlive } from "../lib/process.ts";
import {
  callBinary,
  pathOfAddress,
  plainEnvironment,
  runcAny,
  type ShimRig,
  shimSuite,
  TaskClient,
} from "../lib/shim.ts";
import { waitFor } from "../lib/wait.ts";

const { BootstrapParams, BootstrapResult } = containerd.runtime.bootstrap.v1;
const { test } = shimSuite();

interface Call {
  readonly containerd: string;
  readonly case: string;
  readonly action: "start" | "delete" | "info";
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly stdinHex: string;
  readonly goShimStdoutHex: string;
}

const calls = JSON.parse(readFileSync(join(repository, "test/fixtures/shim-calls.json"), "utf8")) as Call[];
const theirs = "/run/containerd-fixture/containerd.sock";
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (hex: string): Uint8Array => Uint8Array.fromHex(hex);

/** The value of a flag of a captured call. */
function flag(call: Call, name: string): string {
  return call.argv[call.argv.indexOf(name) + 1] ?? "";
}

/** The address that the Go shim printed, in any of its three dialects; "" where it refused. */
function goAddress(call: Call): string {
  const printed = bytes(call.goShimStdoutHex);
  const plain = text(printed);
  if (plain.startsWith("unix://") || plain === "") return plain;
  if (plain.startsWith("{")) return (JSON.parse(plain) as { address: string }).address;
  return BootstrapResult.decode(printed).address;
}

/** stdin of a captured call, with our addresses in it. */
function stdinOf(call: Call, rig: ShimRig, configPath: string): Uint8Array {
  const captured = bytes(call.stdinHex);
  const rewrite = (any: google.protobuf.Any.$Properties | null | undefined) => {
    if (any?.type_url !== "runtimeoptions.v1.Options") return any;
    const options = runtimeoptions.v1.Options.decode(any.value ?? new Uint8Array());
    const value = runtimeoptions.v1.Options.encode({ ...options, configPath }).finish();
    return { ...any, value };
  };
  if (captured.length === 0) return captured;
  if (!call.containerd.startsWith("2.4")) {
    return google.protobuf.Any.encode(rewrite(google.protobuf.Any.decode(captured)) ?? {}).finish();
  }
  const params = BootstrapParams.decode(captured);
  const { socketDir: _, ...rest } = params;
  return BootstrapParams.encode({
    ...rest,
    containerdGrpcAddress: rig.grpcAddress,
    containerdTtrpcAddress: rig.events.path,
    extensions: params.extensions.map((extension) => ({ value: rewrite(extension.value) ?? null })),
  }).finish();
}

function ours(call: Call, rig: ShimRig, bundle: string): { argv: string[]; env: Record<string, string> } {
  const place = (value: string): string => (value === call.cwd ? bundle : value.replace(theirs, rig.grpcAddress));
  const env = Object.fromEntries(Object.entries(call.env).map(([key, value]) => [key, place(value)]));
  return { argv: call.argv.map(place), env: { ...plainEnvironment(), ...env } };
}

describe("captured addresses", () => {
  for (const call of calls.filter((one) => one.action === "start" && one.goShimStdoutHex !== "")) {
    test(`SK-1 ${call.containerd} ${call.case}: our socket path is the Go shim's`, async () => {
      const path = socketPath("/run/containerd/s", flag(call, "-address"), flag(call, "-namespace"), flag(call, "-id"));
      expect(`unix://${path}`).toBe(goAddress(call));
    });
  }
});

describe("captured calls", () => {
  const starts = calls.filter((call) => call.action === "start");
  for (const call of starts) {
    const follow = calls.find((one) => {
      return one.action === "delete" && one.containerd === call.containerd && one.case === call.case;
    });
    const dialect = call.containerd.startsWith("2.4") ? "ST-2 ST-4 BootstrapResult" : "ST-1 ST-4 plain address";
    test(`${dialect}, DL-2: ${call.containerd} ${call.case}`, async (rig) => {
      const [id, namespace] = [flag(call, "-id"), flag(call, "-namespace")];
      const path = join(rig.dir, "captured", `${call.containerd}-${namespace}`, id);
      const bundle = await rig.bundleAt(path, {}, id);
      // Their directory and namespace are not the rig's: it must not clean up after them.
      rig.bundles.length = 0;
      const configPath = join(rig.dir, "other.toml");
      writeFileSync(configPath, "SystemdCgroup = false\n");
      mkdirSync("/run/containerd/s", { recursive: true, mode: 0o700 });
      const started = await callBinary({
        ...ours(call, rig, bundle.path),
        cwd: bundle.path,
        stdin: stdinOf(call, rig, configPath),
      });
      expect(started.stderr).toBe("");
      expect(started.exitCode).toBe(0);
      const expected = `unix://${socketPath("/run/containerd/s", rig.grpcAddress, namespace, id)}`;
      if (call.containerd.startsWith("2.4")) {
        const wanted = BootstrapResult.encode({ version: 2, address: expected, protocol: "ttrpc" }).finish();
        expect(started.stdout).toEqual(wanted);
      } else {
        expect(text(started.stdout)).toBe(expected);
      }
      const client = await Client.connect({ unix: pathOfAddress(expected) });
      const task = new TaskClient(client);
      const { shimPid } = await task.connect(id);
      const rootfs = bundle.rootfs.map((mount) => ({ ...mount, options: [...mount.options] }));
      // Their namespaces are not ours, so runc's state has a place of its own.
      const options = runcAny({ root: join(rig.dir, "runc") });
      const pid = await task.create({ id, bundle: bundle.path, rootfs, options });
      await task.start(id);
      await rig.events.wait(id, "start");
      expect(rig.events.of(id).at(-1)?.namespace).toBe(namespace);
      await task.kill(id);
      const exit = await task.wait(id);
      await task.delete(id);
      await rig.events.wait(id, "delete");
      rig.events.received.length = 0;
      await task.shutdown(id);
      client.close();
      await waitFor("the shim to end", () => !isAlive(shimPid));
      const last = follow ?? { ...call, argv: [...call.argv.slice(0, -1), "-bundle", call.cwd, "delete"] };
      const deleted = await callBinary({ ...ours(last, rig, bundle.path), cwd: bundle.path });
      expect(deleted.stderr).toBe("");
      expect(deleted.exitCode).toBe(0);
      const answer = containerd.task.v2.DeleteResponse.decode(deleted.stdout);
      expect(answer).toMatchObject({ pid, exitStatus: exit.exitStatus });
      expect(answer.exitStatus).toBe(137);
    });
  }

  test("IN-1 2.4.0-beta info", async () => {
    const call = calls.find((one) => one.action === "info");
    if (call === undefined) throw new Error("no captured call of -info");
    const answer = await callBinary({ argv: call.argv, cwd: call.cwd, env: { ...plainEnvironment(), ...call.env } });
    expect(answer.stderr).toBe("");
    expect(answer.exitCode).toBe(0);
    const [info, go] = [answer.stdout, bytes(call.goShimStdoutHex)].map((b) => containerd.types.RuntimeInfo.decode(b));
    if (runcFeatures === undefined) {
      expect(info?.features ?? null).toBeNull();
      return;
    }
    expect(info?.features?.type_url).toBe(go?.features?.type_url ?? "");
    const features = JSON.parse(text(info?.features?.value ?? new Uint8Array())) as Record<string, unknown>;
    const wanted = JSON.parse(text(go?.features?.value ?? new Uint8Array())) as Record<string, unknown>;
    expect(Object.keys(features)).toEqual(expect.arrayContaining(Object.keys(wanted)));
  });

  test("ST-12 all four versions and all their cases are among them", async () => {
    expect(calls.length).toBe(48);
    expect([...new Set(calls.map((call) => call.containerd))]).toEqual(["1.6.20", "1.7.24", "2.1.9", "2.4.0-beta"]);
    expect(starts.length).toBe(24);
  });
});
