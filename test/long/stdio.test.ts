/** Many containers of one moment, through ctr's FIFOs (contract 1.12). */

import { expect } from "bun:test";
import { cpus } from "node:os";
import { containerSuite } from "../lib/suite.ts";

const suite = containerSuite();

/** On the one-processor machine of cgroup v2 a container takes a second. */
const many = cpus().length === 1 ? 40 : 200;

suite.test(
  `R17 the output of ${many} containers of one moment is never lost`,
  async (context) => {
    const { daemon } = context;
    const left = Array.from({ length: many }, () => context.id());
    const lost: string[] = [];
    const worker = async (): Promise<void> => {
      for (let c = left.pop(); c !== undefined; c = left.pop()) {
        const result = await daemon.run(c, ["echo", `this is ${c}`]);
        if (result.exitCode !== 0 || result.stdout !== `this is ${c}\n`) {
          lost.push(`${c}: exit ${result.exitCode}, ${JSON.stringify(result.stdout)} ${result.stderr}`);
        }
      }
    };
    await Promise.all([worker(), worker(), worker(), worker()]);
    expect(lost).toEqual([]);
  },
  { timeout: 240_000 },
);
