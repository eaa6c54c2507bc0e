/** One daemon for a test file, a leak check after each test, and the daemon's log when a test fails. */

import { afterAll, beforeAll } from "bun:test";
import { join } from "node:path";
import { Daemon, type DaemonOptions, tail } from "./daemon.ts";
import { EventCollector } from "./events.ts";
import { expectNoLeak, inventory } from "./leak.ts";
import { whyNoContainers } from "./paths.ts";
import { processScope } from "./scope.ts";
import { testUnless } from "./skip.ts";

/** What a test gets. */
export interface TestContext {
  readonly daemon: Daemon;
  readonly events: EventCollector;
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
 */
export function containerSuite(options: DaemonOptions = {}): ContainerSuite {
  const impossible = whyNoContainers();
  let daemon: Daemon | undefined;
  let events: EventCollector | undefined;
  const number = ++suites;
  const used = new Set<string>();
  const look = (): Set<string> => inventory(processScope(), daemon, used);

  if (impossible === undefined) {
    beforeAll(async () => {
      const scope = processScope();
      daemon = new Daemon(join(scope.dir, `d${number}`), `${scope.token}-n${number}`, options);
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
      const guarded = async (): Promise<void> => {
        if (!daemon || !events) throw new Error("the daemon did not start");
        const ids: string[] = [];
        const context: TestContext = {
          daemon,
          events,
          id: () => {
            const id = `c${++count}`;
            ids.push(id);
            used.add(id);
            return id;
          },
        };
        const logged = daemon.log().length;
        const before = look();
        try {
          await body(context);
          await expectNoLeak(before, look);
        } catch (error) {
          const log = tail(daemon.log().slice(logged), 60);
          console.error(`---- containerd's log during "${name}"\n${log}\n----`);
          await removeContainers(daemon, ids);
          throw error;
        }
      };
      testUnless(impossible ?? testOptions.skip, name, guarded, testOptions.timeout ?? 30_000);
    },
  };
}

/** Removes what a failed test left in the daemon, so that the next one starts clean. */
async function removeContainers(daemon: Daemon, ids: readonly string[]): Promise<void> {
  if (!daemon.running) await daemon.start();
  for (const id of ids) {
    await daemon.ctr(["tasks", "delete", "--force", id], { timeout: 10_000 });
    await daemon.ctr(["containers", "delete", id], { timeout: 10_000 });
  }
}
