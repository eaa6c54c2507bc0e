/** Checkpoint and restore as a person does it with ctr (contract 1.11). */

import { expect } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findCriu } from "../lib/criu.ts";
import { Fifos } from "../lib/fifo.ts";
import { imageName } from "../lib/image.ts";
import { pathWithDist, runtime, whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { containerSuite } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const criu = whyNoContainers() ?? (await findCriu());
const skip = typeof criu === "string" ? criu : undefined;
// ctr's containers have a network of their own; criu would lock it by iptables, which a small machine need not have. An
// operator says so in a configuration file, and berth must leave it in force.
const configuration = join(processScope().dir, "criu.conf");
writeFileSync(configuration, "network-lock skip\n");
const env = (directory: string) => ({ PATH: `${directory}:${pathWithDist()}`, CRIU_CONFIG_FILE: configuration });
const suite = containerSuite(typeof criu === "string" ? {} : { env: env(criu.directory) });
if (typeof criu !== "string") console.log(`checkpoint and restore by ${criu.origin}`);

const script = "i=0; while :; do i=$((i+1)); echo $i; usleep 20000; done";

suite.test(
  "CP-1 ctr tasks checkpoint makes an image, and the container goes on",
  async ({ daemon, tasks, id }) => {
    const c = id();
    const fifos = await Fifos.make();
    const out = fifos.read();
    await tasks.create(c, imageName, ["sh", "-c", script], runtime, { stdout: fifos.stdout, stderr: fifos.stdout });
    await tasks.start(c);
    await waitFor("output", () => out.text.length > 10);
    const images = async () => (await daemon.ctr(["images", "ls", "-q"], { check: true })).stdout.trim().split("\n");
    const before = await images();
    await daemon.ctr(["tasks", "checkpoint", c], { check: true });
    const made = (await images()).filter((name) => !before.includes(name));
    expect(made).toHaveLength(1);
    expect(made[0]).toContain(c);
    const seen = out.text.length;
    await waitFor("more output", () => out.text.length > seen);
    expect((await tasks.get(c)).status).toBe("RUNNING");
    await daemon.ctr(["images", "rm", ...made], { check: true });
    expect(await tasks.killAndFinish(c)).toBe(137);
    await fifos.remove();
  },
  { skip, timeout: 60_000 },
);

suite.test(
  "CP-3 ctr containers checkpoint and restore --live: the count goes on",
  async ({ daemon, tasks, id }) => {
    const c = id();
    // Directories and not a file: what is open in the midst of a checkpoint must be there with its size when it is restored,
    // and the mount is the host's, which goes on after the checkpoint.
    const counted = join(daemon.dir, "counted");
    mkdirSync(counted);
    const counts = () => readdirSync(counted).map(Number);
    const mount = `type=bind,src=${counted},dst=/counted,options=rbind:rw`;
    const inDirectories = script.replace("echo $i", "mkdir /counted/$i");
    await daemon.runDetached(c, ["sh", "-c", inDirectories], ["--null-io", "--mount", mount]);
    await waitFor("the count to begin", () => counts().length > 5);
    const ref = "localhost/checkpoint:one";
    await daemon.ctr(["containers", "checkpoint", "--task", "--image", "--rw", c, ref], { check: true });
    await tasks.kill(c, 9);
    await tasks.wait(c);
    const last = Math.max(...counts());
    await tasks.delete(c);
    await tasks.removeContainer(c);
    for (const n of counts()) rmdirSync(join(counted, String(n)));
    const d = id();
    // ctr ends as soon as the task is started, and does not stay with the container as `ctr run` does.
    await daemon.ctr(["containers", "restore", "--rw", "--live", d, ref], { check: true, timeout: 90_000 });
    expect(await daemon.status(d)).toBe("RUNNING");
    await waitFor("the count to go on", () => counts().length > 5);
    // It did not begin again, and did not skip what the first one counted after the checkpoint.
    expect(Math.min(...counts())).toBeWithin(5, last + 2);
    await tasks.kill(d, 9);
    await waitFor("the restored container to be gone", async () => (await daemon.status(d)) !== "RUNNING");
    await daemon.ctr(["tasks", "delete", d]);
    await daemon.ctr(["containers", "delete", d]);
    await daemon.ctr(["images", "rm", ref]);
    expect(existsSync(daemon.bundle(d))).toBe(false);
    rmSync(counted, { recursive: true });
    // containerd has unpacked the checkpoint there, and does not come back.
    const temporary = join(daemon.dir, "tmp");
    for (const name of readdirSync(temporary)) {
      if (name.startsWith("ctrd-checkpoint")) rmSync(join(temporary, name), { recursive: true });
    }
  },
  { skip, timeout: 120_000 },
);
