/** Networks of applications: services find each other by their names, ports are published, and all of it goes again. */

import { expect } from "bun:test";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { appIs, appsDirectory, berth, makeNetworkedAppsDaemon, pidOf, showApp } from "../lib/apps.ts";
import { imageName } from "../lib/image.ts";
import { type NetnsBerthd, whyNoNetworks } from "../lib/netns.ts";
import { containerSuite } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite({}, makeNetworkedAppsDaemon);
const skip = whyNoNetworks();

/** Answers every connection with a word. */
const serving = (word: string): string =>
  `[sh, -c, "trap 'exit 0' TERM; while :; do echo ${word} | busybox nc -l -p 80 & wait $$!; done"]`;

suite.test(
  "R30: services find each other by name, a port is published, and a new version keeps the others",
  async ({ daemon }) => {
    const { netns, confDir } = daemon as NetnsBerthd;
    const file = join(appsDirectory(daemon), "net.yaml");
    const text = (word: string) => `services:
  web:
    image: ${imageName}
    command: ${serving(word)}
    ports: ["18080:80"]
    networks: {front: {aliases: [www]}}
  client: {image: ${imageName}, command: [sleep, "1000"], stop_grace_period: 100ms, networks: [front], depends_on: [web]}
networks: {front: {ipam: {config: [{subnet: 10.199.7.0/24}]}}}
`;
    const said = (host: string): Promise<string> =>
      waitFor(
        `${host} to answer`,
        async () => {
          const asked = await daemon.exec("net-client-1", ["busybox", "nc", "-w", "2", host, "80"]);
          return asked.stdout.trim() || undefined;
        },
        { timeout: 30_000, interval: 100 },
      );
    writeFileSync(file, text("one"));
    await appIs(daemon, "net", ({ State }) => State === "running");
    expect(await Promise.all([said("web"), said("www")])).toEqual(["one", "one"]);
    expect((await daemon.exec("net-client-1", ["ip", "-o", "address"])).stdout).toContain("10.199.7.");
    const published = async (): Promise<string | undefined> => {
      const { stdout } = await netns.run(["busybox", "nc", "-w", "2", "127.0.0.1", "18080"], { check: false });
      return stdout.trim() || undefined;
    };
    expect(await waitFor("the published port", published, { timeout: 30_000, interval: 100 })).toBe("one");

    // Its port is free for its successor, and its name leads there.
    const client = await pidOf(daemon, "net-client-1");
    writeFileSync(file, text("two"));
    await appIs(daemon, "net", ({ State, Revision }) => State === "running" && Revision === 2);
    expect(await pidOf(daemon, "net-client-1")).toBe(client);
    expect(await said("web")).toBe("two");
    expect(await waitFor("the published port", published, { timeout: 30_000, interval: 100 })).toBe("two");

    // Somebody else's port: it cannot start, and the one before comes back.
    const taken = Bun.spawn(netns.command(["busybox", "nc", "-l", "-p", "18081"]), {
      stdout: "ignore",
      stderr: "ignore",
    });
    try {
      writeFileSync(file, text("three").replace("18080", "18081"));
      const back = await appIs(daemon, "net", ({ State }) => State === "rolled-back");
      expect(back.Error).toMatch(/net-web-1 cannot be started: .*18081/);
    } finally {
      taken.kill("SIGKILL");
      await taken.exited;
    }
    expect(await said("web")).toBe("two");

    rmSync(file);
    await waitFor("it to be gone", async () => (await showApp(daemon, "net")) === undefined, {
      timeout: 60_000,
      interval: 200,
    });
    expect(readdirSync(confDir).filter((name) => name.includes("net_front"))).toEqual([]);
    expect((await berth(daemon, ["apps", "-q"], { check: true })).stdout).toBe("");
  },
  { timeout: 150_000, skip },
);
