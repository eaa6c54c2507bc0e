/** Tests that drive the shim's executable themselves, without containerd: one rig a file, a leak check after each test. */

import { afterAll, beforeAll, expect } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { codeName, TtrpcError } from "../../proto/ttrpc/index.ts";
import { expectNoLeak, inventory } from "./leak.ts";
import { builtShim, runtime, testsBerth, whyNoContainers } from "./paths.ts";
import { processScope } from "./scope.ts";
import { shimBinary } from "./shim/binary.ts";
import { ShimRig } from "./shim/rig.ts";
import { testUnless } from "./skip.ts";
import { sweep } from "./sweep.ts";

export * from "./shim/binary.ts";
export * from "./shim/bundle.ts";
export * from "./shim/events.ts";
export * from "./shim/rig.ts";
export * from "./shim/task.ts";

/** True when the long forms of tests are asked for: more repetitions, waits of a minute. */
export const isLong = Boolean(process.env["BERTH_LONG"]);

/** How often something is repeated: `BERTH_LONG=1` gives the long form. */
export function times(short: number, long: number): number {
  return isLong ? long : short;
}

/** Options of one test. */
export interface ShimTestOptions {
  /** Limit in milliseconds; 30 s unless told. */
  readonly timeout?: number;
  /** Why it cannot run here; undefined when it can. */
  readonly skip?: string | undefined;
}

/** The tests of a file. */
export interface ShimSuite {
  test(name: string, body: (rig: ShimRig) => Promise<void>, options?: ShimTestOptions): void;
}

let suites = 0;

/** Makes a rig before the file's tests and removes it after. */
export function shimSuite(): ShimSuite {
  const notBerth = testsBerth ? undefined : `tests berth's own executable, and the runtime is ${runtime}`;
  const impossible = whyNoContainers() ?? notBerth;
  const number = ++suites;
  let rig: ShimRig | undefined;
  if (impossible === undefined) {
    beforeAll(() => {
      if (!existsSync(shimBinary)) throw new Error(`${shimBinary} is missing: npm run build makes ${builtShim}`);
      const scope = processScope();
      rig = new ShimRig(join(scope.dir, `s${number}`), `${scope.token}-s${number}`);
    });
    afterAll(async () => {
      await rig?.events.stop();
    });
  }
  const sockets = (): string[] => (existsSync("/run/containerd/s") ? readdirSync("/run/containerd/s") : []);
  return {
    test(name, body, options = {}) {
      const limit = options.timeout ?? 30_000;
      const guarded = async (): Promise<void> => {
        if (rig === undefined) throw new Error("there is no rig");
        const [current, scope] = [rig, processScope()];
        const mine = (path: string): boolean => shown.has(path);
        const shown = new Set<string>();
        const look = (): Set<string> => {
          const found = inventory(scope);
          const here = new Set(sockets());
          for (const path of shown) if (here.has(path)) found.add(`socket /run/containerd/s/${path}`);
          return found;
        };
        const before = look();
        const note = (): void => {
          for (const { id } of current.bundles) {
            for (const debug of [false, true]) shown.add(current.socketPath(id, debug).split("/").at(-1) ?? "");
          }
          for (const shim of current.shims) shown.add(shim.socket.split("/").at(-1) ?? "");
        };
        try {
          await within(body(current), limit);
          note();
          await current.finish();
          await expectNoLeak(before, look);
        } catch (error) {
          note();
          for (const shim of current.shims) shim.client.close();
          sweep([current.namespace, join(current.dir, "bundles")]);
          for (const path of sockets().filter(mine)) sweepSocket(path);
          [current.shims, current.bundles] = [[], []];
          current.events.before = () => undefined;
          current.events.start();
          throw error;
        }
      };
      testUnless(impossible ?? options.skip, name, guarded, limit + 60_000);
    },
  };
}

function sweepSocket(name: string): void {
  try {
    Bun.spawnSync(["rm", "-f", `/run/containerd/s/${name}`]);
  } catch {
    // The run's own sweep will find it.
  }
}

async function within(body: Promise<void>, limit: number): Promise<void> {
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

/**
 * Asserts that a call is answered with a status: its code, and its message, which must be one sentence.
 * @returns the message
 */
export async function expectStatus(call: Promise<unknown>, code: number, message: RegExp | string): Promise<string> {
  let error: unknown;
  try {
    await call;
  } catch (caught) {
    error = caught;
  }
  if (!(error instanceof TtrpcError)) throw new Error(`expected ${codeName(code)}, got ${error ?? "an answer"}`);
  const text = `${codeName(error.code)}: ${error.message}`;
  expect(text).toStartWith(`${codeName(code)}: `);
  if (typeof message === "string") expect(error.message).toContain(message);
  else expect(error.message).toMatch(message);
  expect(error.message).not.toMatch(/\n|undefined|\[object|^\s*$/);
  return error.message;
}
