/** Checkpoint and restore (contract 1.11), where the criu of this machine works. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { codes, equal, holds, refused } from "../assert.ts";
import type { Section } from "../check.ts";
import type { Context, Shim } from "../rig/context.ts";

const init = "cmd/containerd-shim-runc-v2/process/init.go";

/** A container that counts in memory, and says how far it is. */
async function counting(
  t: Context,
): Promise<{ shim: Shim; last: () => number; text: (parts: number) => Promise<void> }> {
  const criu = await t.call(["check"], { program: Bun.which("criu") ?? "/bin/false" });
  if (criu.exitCode !== 0) t.skip("there is no criu in PATH, or `criu check` fails on this kernel");
  t.options({});
  const stdout = t.reader("out");
  const args = t.script("i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done");
  const shim = await t.run({ args }, t.outputs(stdout));
  const last = (): number => Number(stdout.text.trimEnd().split("\n").at(-1));
  await stdout.until("3\n");
  return { shim, last, text: (n) => stdout.until(`\n${n}\n`) };
}

/** A container in a shim of its own that is made from an image. */
async function restoring(t: Context, image: string): Promise<{ shim: Shim; first: () => Promise<number> }> {
  const stdout = t.reader("out");
  const shim = await t.start(t.bundle({ args: ["true"] }));
  await shim.task.create({ ...shim.createRequest(t.outputs(stdout)), checkpoint: image });
  const first = async (): Promise<number> => {
    await stdout.until("\n");
    return Number(stdout.text.split("\n")[0]);
  };
  return { shim, first };
}

export const checkpoint: Section = {
  name: "checkpoint",
  checks: [
    {
      id: "CP-1.running",
      level: "must",
      title: "A checkpoint makes an image, and the container goes on.",
      source: init,
      body: async (t) => {
        const { shim, last, text } = await counting(t);
        const image = join(t.dir, "image");
        await shim.task.checkpoint(shim.id, image);
        holds("an image of criu", existsSync(join(image, "inventory.img")), `nothing in ${image}`);
        equal("the status", (await shim.task.state(shim.id)).status, "RUNNING");
        await text(last() + 2);
      },
    },
    {
      id: "CP-1.event",
      level: "should",
      title: "A checkpoint is told by the event checkpointed.",
      source: "core/runtime/v2/README.md (Events)",
      body: async (t) => {
        const { shim } = await counting(t);
        await shim.task.checkpoint(shim.id, join(t.dir, "image"));
        await t.events.wait(shim.id, "checkpointed");
      },
    },
    {
      id: "CP-1.exit",
      level: "must",
      title: "A checkpoint with the option exit ends the container.",
      source: init,
      body: async (t) => {
        const { shim } = await counting(t);
        const waiting = shim.task.wait(shim.id);
        await shim.task.checkpoint(shim.id, join(t.dir, "image"), true);
        const ended = await Promise.race([waiting, Bun.sleep(5000)]);
        holds("the container to end", ended !== undefined, "no answer to Wait after 5 s");
        await shim.task.delete(shim.id);
      },
    },
    {
      id: "T-CRE-10",
      level: "must",
      title:
        "Create with a checkpoint makes a container that is CREATED, and Start restores it: it goes on where it was.",
      source: "cmd/containerd-shim-runc-v2/process/init_state.go (createdCheckpointState)",
      body: async (t) => {
        const { shim: old, last } = await counting(t);
        const image = join(t.dir, "image");
        await old.task.checkpoint(old.id, image, true);
        await old.task.wait(old.id);
        await old.finish();
        const { shim, first } = await restoring(t, image);
        equal("the status before Start", (await shim.task.state(shim.id)).status, "CREATED");
        const pid = await shim.task.start(shim.id);
        const state = await shim.task.state(shim.id);
        equal("status and pid", [state.status, state.pid], ["RUNNING", pid]);
        const next = await first();
        holds(`it to go on after ${last()}`, next > last() && next < last() + 100, next);
        equal("the exit status", (await shim.kill()).exitStatus, 137);
        await shim.task.delete(shim.id);
      },
    },
    {
      id: "CP-3",
      level: "must",
      title: "An exec in a container that is still to be restored is refused.",
      source: "cmd/containerd-shim-runc-v2/process/init_state.go (createdCheckpointState.Exec)",
      body: async (t) => {
        const { shim: old } = await counting(t);
        const image = join(t.dir, "image");
        await old.task.checkpoint(old.id, image, true);
        await old.task.wait(old.id);
        await old.finish();
        const { shim } = await restoring(t, image);
        await refused("Exec", shim.exec("e1", ["true"]), ...codes.wrongState);
      },
    },
  ],
};
