/** The Sandbox service, where there is one, and containers that no binary call is made for (contract 1.15, DL-7). */

import { containerd } from "../../../proto/gen/supervisor.js";
import { codeText, equal, holds } from "../assert.ts";
import type { Section } from "../check.ts";
import type { Context, Shim } from "../rig/context.ts";
import { nothingLeft } from "../rig/left.ts";
import { findProcesses } from "../rig/machine.ts";
import { StatusError } from "../rig/wire.ts";

const messages = containerd.runtime.sandbox.v1;
const cri = "io.kubernetes.cri.sandbox-id";
const pod = { annotations: { [cri]: "pod" } };

interface Codec<Request, Response> {
  readonly request: { encode(message: Request): { finish(): Uint8Array } };
  readonly response: { decode(bytes: Uint8Array): Response };
}

/** Calls the Sandbox service. */
async function sandbox<Q, R>(shim: Shim, method: string, { request, response }: Codec<Q, R>, message: Q): Promise<R> {
  const service = "containerd.runtime.sandbox.v1.Sandbox";
  const payload = request.encode(message).finish();
  return response.decode(await shim.task.connection.call({ service, method, payload }));
}

/** A shim with a sandbox that was created. @throws Skip when it has no such service */
async function created(t: Context): Promise<Shim> {
  const shim = await t.start(t.bundle());
  const codec = { request: messages.CreateSandboxRequest, response: messages.CreateSandboxResponse };
  const message = { sandboxId: shim.id, bundlePath: shim.bundle.path };
  try {
    await sandbox(shim, "CreateSandbox", codec, message);
  } catch (error) {
    if (error instanceof StatusError && error.code === 12) t.skip("the shim has no Sandbox service");
    throw error;
  }
  return shim;
}

async function started(t: Context): Promise<{ shim: Shim; pid: number }> {
  const shim = await created(t);
  const codec = { request: messages.StartSandboxRequest, response: messages.StartSandboxResponse };
  return { shim, pid: (await sandbox(shim, "StartSandbox", codec, { sandboxId: shim.id })).pid };
}

/** Waits until nothing is left of one container of a pod, whose processes are known by their cgroup. */
async function goneFrom(t: Context, { id, bundle }: Shim): Promise<void> {
  await nothingLeft(t, bundle, () => findProcesses(`/${t.token}/${id}`));
}

/** A pod whose second container is made on the connection of the first, as in a sandbox of version 3. */
async function pair(t: Context): Promise<[Shim, Shim]> {
  const first = await t.run(pod);
  const second = await t.connect(t.bundle(pod), first.found);
  await second.create();
  await second.task.start(second.id);
  return [first, second];
}

export const sandboxes: Section = {
  name: "sandbox",
  checks: [
    {
      id: "SB-1.life",
      level: "must",
      title: "A sandbox is created, started, pinged, told of, stopped and shut down, and then its shim ends.",
      source: "plugins/sandbox/controller.go; api/runtime/sandbox/v1/sandbox.proto",
      body: async (t) => {
        const { shim, pid } = await started(t);
        const id = { sandboxId: shim.id };
        await sandbox(shim, "PingSandbox", { request: messages.PingRequest, response: messages.PingResponse }, id);
        const status = { request: messages.SandboxStatusRequest, response: messages.SandboxStatusResponse };
        const told = await sandbox(shim, "SandboxStatus", status, id);
        equal("the pid of the status", told.pid, pid);
        const stop = { request: messages.StopSandboxRequest, response: messages.StopSandboxResponse };
        await sandbox(shim, "StopSandbox", stop, { ...id, timeoutSecs: 5 });
        const down = { request: messages.ShutdownSandboxRequest, response: messages.ShutdownSandboxResponse };
        // The shim may be gone before it has answered.
        await sandbox(shim, "ShutdownSandbox", down, id).catch(() => undefined);
        await shim.ended();
      },
    },
    {
      id: "SB-1.platform",
      level: "must",
      title: "The platform of a sandbox names an operating system and an architecture.",
      source: "core/sandbox/controller.go (Platform)",
      body: async (t) => {
        const { shim } = await started(t);
        const codec = { request: messages.PlatformRequest, response: messages.PlatformResponse };
        const { platform } = await sandbox(shim, "Platform", codec, { sandboxId: shim.id });
        holds("an operating system and an architecture", !!platform?.os && !!platform.architecture, platform);
      },
    },
    {
      id: "SB-1.absent",
      level: "must",
      title: "Every method of a Sandbox service that is not there is answered with Unimplemented.",
      source: "core/runtime/v2/shim.go; contract SB-2",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const service = "containerd.runtime.sandbox.v1.Sandbox";
        const payload = messages.SandboxStatusRequest.encode({ sandboxId: shim.id }).finish();
        const call = async (method: string): Promise<string> =>
          await shim.task.connection.call({ service, method, payload }).then(
            () => "an answer",
            (error: Error) => (error instanceof StatusError ? codeText(error.code) : error.message),
          );
        if ((await call("Platform")) !== codeText(12)) return t.skip("the shim has a Sandbox service");
        for (const method of ["StopSandbox", "WaitSandbox", "SandboxStatus", "PingSandbox", "SandboxMetrics"]) {
          equal(`the answer to ${method}`, await call(method), codeText(12));
        }
      },
    },
    {
      id: "ST-4b",
      level: "should",
      title: "A second container of a group is created on the first one's connection, without a `start` of its own.",
      source: "core/runtime/v2/shim_manager.go (Start, sandboxed)",
      body: async (t) => {
        const [first, second] = await pair(t);
        const states = await Promise.all([first, second].map(({ task, id }) => task.state(id)));
        equal(
          "the bundles",
          states.map(({ bundle }) => bundle),
          [first.bundle.path, second.bundle.path],
        );
        await t.events.wait(second.id, "start");
      },
    },
    {
      id: "DL-7.delete",
      level: "should",
      title: "Delete leaves nothing of such a container, for which no binary call `delete` is made.",
      source: "core/runtime/v2/shim_manager.go; containerd#9727",
      body: async (t) => {
        const [first, second] = await pair(t);
        await second.kill();
        await second.task.delete(second.id);
        await goneFrom(t, second);
        equal("the status of the first", (await first.task.state(first.id)).status, "RUNNING");
      },
    },
    {
      id: "DL-7.killed",
      level: "should",
      title: "When a shim of version 3 was killed, `delete` of its sandbox ends the other containers of it too.",
      source: "containerd#10727",
      body: async (t) => {
        const [first, second] = await pair(t);
        if (first.found.version < 3) return t.skip("containerd calls `delete` for each container of a version 2 shim");
        await first.crash();
        await t.delete(first.bundle);
        await goneFrom(t, second);
      },
    },
  ],
};
