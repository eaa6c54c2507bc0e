/** Sandboxes with a shim of paper. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Metadata } from "@grpc/grpc-js";
import { toStatus } from "../../../../proto/errdefs.ts";
import { containerd, google } from "../../../../proto/gen/supervisor.js";
import { Server } from "../../../../proto/ttrpc/server.ts";
import { unary } from "../../../../proto/ttrpc/service.ts";
import { listen } from "../../../../shim/linux/index.ts";
import { CallContext } from "../../../../supervisor/grpc/context.ts";
import { sandboxControllerService } from "../../../../supervisor/grpc/sandbox-controller.ts";
import { silent } from "../../../../supervisor/log/log.ts";
import { Programs } from "../../../../supervisor/task/program.ts";
import { Sandboxes } from "../../../../supervisor/task/sandbox.ts";
import { waitFor } from "../../../lib/wait.ts";

const api = containerd.runtime.sandbox.v1;
const { ShutdownRequest } = containerd.task.v2;

let dir: string;
let server: Server;
let stopListening: () => void;
let sandboxes: Sandboxes;
let creating: Promise<unknown>;
let waits: PromiseWithResolvers<number>[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "berth-sandbox-"));
  writeFileSync(
    join(dir, "shim"),
    `#!/bin/sh\nfor last; do :; done\n[ "$last" = delete ] || printf 'unix://${dir}/sock'\n`,
  );
  chmodSync(join(dir, "shim"), 0o755);
  waits = [];
  creating = Promise.resolve();
  server = new Server({ mapError: toStatus });
  server.register("containerd.task.v2.Task", { Shutdown: unary(ShutdownRequest, google.protobuf.Empty, () => ({})) });
  server.register("containerd.runtime.sandbox.v1.Sandbox", {
    CreateSandbox: unary(api.CreateSandboxRequest, api.CreateSandboxResponse, async () => {
      await creating;
      return {};
    }),
    WaitSandbox: unary(api.WaitSandboxRequest, api.WaitSandboxResponse, async () => {
      const wait = Promise.withResolvers<number>();
      waits.push(wait);
      return { exitStatus: await wait.promise };
    }),
    ShutdownSandbox: unary(api.ShutdownSandboxRequest, api.ShutdownSandboxResponse, () => ({})),
  });
  stopListening = listen(join(dir, "sock"), (connection) => connection.serveBy(server));
  const caller = { address: "/run/x", ttrpcAddress: "/run/x.ttrpc", env: {}, debug: false };
  const programs = new Programs(new Map([["paper", join(dir, "shim")]]));
  const roots = { root: join(dir, "root"), state: join(dir, "state") };
  sandboxes = new Sandboxes({ roots, caller, programs, log: silent });
});

afterEach(async () => {
  sandboxes.close();
  stopListening();
  await server.shutdown({ graceMs: 0 });
  rmSync(dir, { recursive: true, force: true });
});

const wanted = {
  runtime: "paper",
  runtimeOptions: undefined,
  spec: undefined,
  rootfs: [],
  options: undefined,
  netnsPath: "",
  annotations: {},
};

test("a Create whose caller has gone meanwhile leaves no sandbox", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  creating = promise;
  const controller = new AbortController();
  const created = sandboxes.create("n", "s", wanted, controller.signal).catch((error: Error) => error.message);
  await Bun.sleep(100);
  controller.abort();
  resolve();
  expect(await created).toContain("context canceled");
  await sandboxes.create("n", "s", wanted);
});

test("who no longer waits for a sandbox is let go, and its end is told to the others alone", async () => {
  await sandboxes.create("n", "s", wanted);
  const told: string[] = [];
  const service = sandboxControllerService(sandboxes, { publish: (_, topic) => void told.push(topic) });
  const metadata = new Metadata();
  metadata.set("containerd-namespace", "n");
  const { ControllerWaitRequest } = containerd.services.sandbox.v1;
  const request = ControllerWaitRequest.decode(
    ControllerWaitRequest.encode({ sandboxId: "s", sandboxer: "shim" }).finish(),
  );
  const wait = async (signal: AbortSignal) => service.Wait?.(request, new CallContext(metadata, signal));
  const gone = new AbortController();
  const [first, second] = [
    wait(gone.signal).catch((error: Error) => error.message),
    wait(new AbortController().signal),
  ];
  await waitFor("two waits", () => waits.length === 2);
  gone.abort();
  expect(await Promise.race([first, Bun.sleep(1_000)])).toContain("context canceled");
  for (const { resolve } of waits) resolve(3);
  expect(await second).toMatchObject({ exitStatus: 3 });
  expect(told).toEqual(["/sandboxes/exit"]);
});
