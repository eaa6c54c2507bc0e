/** How long the other end of a stream may take (contract T-CRE-8, IO-2, IO-3). */

import { expect } from "bun:test";
import { Fifos } from "../lib/fifo.ts";
import { LoggerFiles } from "../lib/logger.ts";
import { outcome } from "../lib/outcome.ts";
import { testsBerth } from "../lib/paths.ts";
import { isAlive } from "../lib/process.ts";
import { containerSuite } from "../lib/suite.ts";
import { refused } from "../lib/tasks.ts";
import { waitFor } from "../lib/wait.ts";

// The limit of 30 s is the same for everybody: here it is cut short.
const impatient = containerSuite({ env: { BERTH_STDIO_TIMEOUT: "2" } });
const berthOnly = { skip: testsBerth ? undefined : "berth's own promise" };

impatient.test(
  "T-CRE-8 a logger that never gets ready and a FIFO that nobody reads end in an error, and leave nothing",
  async ({ daemon, tasks, id }) => {
    const files = new LoggerFiles();
    const fifos = await Fifos.make();
    const held = id();
    await daemon.runDetached(held, ["sleep", "1000"]);
    const begun = performance.now();
    const [logger, fifo] = await Promise.all([
      refused(tasks, id(), { stdout: files.uri("never") }),
      refused(tasks, id(), fifos.out),
      expect(
        await outcome(
          (async () => {
            const spec = { args: ["true"], cwd: "/", env: ["PATH=/bin"], user: { uid: 0, gid: 0 } };
            await tasks.exec(held, "x", spec, fifos.out);
            await tasks.start(held, "x");
          })(),
        ),
      ).toThrow("nobody reads"),
    ]);
    const took = performance.now() - begun;
    expect(took).toBeGreaterThan(2000);
    // Three shims start in this time, on a machine that may be slow; without the limit it were 30 s.
    expect(took).toBeLessThan(15_000);
    expect(logger).toMatchObject({ code: 4 });
    expect(logger.message).toContain("is not ready after 2 s");
    expect(fifo).toMatchObject({ code: 4 });
    expect(fifo.message).toContain(`nobody reads ${fifos.stdout} after 2 s`);
    await waitFor("the logger to be gone", () => !isAlive(files.pid));
    expect((await tasks.get(held, "x")).status).toBe("STOPPED");
    await tasks.deleteExec(held, "x");
    await tasks.killAndFinish(held);
    await fifos.remove();
    files.remove();
  },
  berthOnly,
);
