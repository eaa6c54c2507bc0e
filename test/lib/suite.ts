/** One daemon for a test file, a leak check after each test, and the daemon's log when a test fails. */

import { afterAll, beforeAll } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeDaemon } from "./berthd.ts";
import { type Daemon, type DaemonOptions, tail } from "./daemon.ts";
import { EventCollector } from "./events.ts";
import { expectNoLeak, inventory } from "./leak.ts";
import { builtShim, testsBerth, whyNoContainers } from "./paths.ts";
import { noteFile, processScope } from "./scope.ts";
import { testUnless } from "./skip.ts";
import { Tasks } from "./tasks.ts";

/** What a test gets. */
export interface TestContext {
  readonly daemon: Daemon;
  readonly events: EventCollector;
  /** containerd's Tasks service, for what ctr has no verb for. */
  readonly tasks: Tasks;
  /** A container id that no other test uses; what it leaves behind is looked for after the test. */
  id(): string;
}

/** Options of one test. */
export interface TestOptions {
  /** Limit in milliseconds; 30 s unless told. */
  timeout?: number;
  /** Why it cannot run here; undefined when it can. */
  skip?: string | undefined;
}

/** A file's tests against one daemon. */
export interface ContainerSuite {
  test(name: string, body: (context: TestContext) => Promise<void>, options?: TestOptions): void;
}

let suites = 0;

/**
 * Starts a daemon before the file's tests and removes it after. Where containers cannot run at all, the tests are
 * skipped with the reason.
 * @param make makes the daemon; the one under test unless told
 */
export function containerSuite(options: DaemonOptions = {}, make: typeof makeDaemon = makeDaemon): ContainerSuite {
  const impossible = whyNoContainers();
  let daemon: Daemon | undefined;
  let events: EventCollector | undefined;
  const number = ++suites;
  const used = new Set<string>();
  const look = (): Set<string> => inventory(processScope(), daemon, used, [daemon?.pid, events?.pid]);

  if (impossible === undefined) {
    beforeAll(async () => {
      if (testsBerth && !existsSync(builtShim)) throw new Error(`${builtShim} is missing: npm run build makes it`);
      const scope = processScope();
      daemon = make(join(scope.dir, `d${number}`), `${scope.token}-n${number}`, options);
      await daemon.start();
      await daemon.importImage();
      events = new EventCollector(daemon);
      await events.start();
    }, 60_000);
    afterAll(async () => {
      await events?.stop();
      await daemon?.stop();
      // With the daemon gone, nothing of this file may be left.
      const mine = new Set([...look()].filter((item) => item.startsWith("descriptor")));
      await expectNoLeak(mine, look);
      daemon?.remove();
    }, 60_000);
  }

  let count = 0;
  return {
    test(name, body, testOptions = {}) {
      const limit = testOptions.timeout ?? 30_000;
      const guarded = async (): Promise<void> => {
        if (!daemon || !events) throw new Error("the daemon did not start");
        const own = daemon;
        const ids: string[] = [];
        const context: TestContext = {
          daemon,
          events,
          tasks: new Tasks(daemon),
          id: () => {
            const id = `c${++count}`;
            ids.push(id);
            used.add(id);
            for (const end of ["", "/debug"]) noteFile(processScope(), own.socketPath(id + end));
            return id;
          },
        };
        // A test that failed may have left them dead.
        if (!daemon.running) await daemon.start();
        if (!events.running) await events.start();
        const logged = daemon.log().length;
        const before = look();
        try {
          await withLimit(body(context), limit);
          await expectNoLeak(before, look);
        } catch (error) {
          const log = tail(daemon.log().slice(logged), 60);
          console.error(`---- the daemon's log during "${name}"\n${log}\n----`);
          await removeContainers(daemon, ids);
          throw error;
        }
      };
      // The runner's own limit kills every child of this process, the daemon too: ours comes first.
      testUnless(impossible ?? testOptions.skip, name, guarded, limit + 60_000);
    },
  };
}

async function withLimit(body: Promise<void>, limit: number): Promise<void> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the test did not end in ${limit} ms`)), limit);
  });
  try {
    await Promise.race([body, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Removes what a failed test left in the daemon, so that the next one starts clean. */
async function removeContainers(daemon: Daemon, ids: readonly string[]): Promise<void> {
  if (!daemon.running) await daemon.start();
  for (const id of ids) {
    await daemon.ctr(["tasks", "delete", "--force", id], { timeout: 10_000 });
    await daemon.ctr(["containers", "delete", id], { timeout: 10_000 });
    for (const end of ["", "/debug"]) rmSync(daemon.socketPath(id + end), { force: true });
  }
}
