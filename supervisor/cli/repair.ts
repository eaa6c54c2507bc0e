/** `berth check --repair`: by the daemon that runs, or here when none does. */

import { GrpcClient } from "../client/grpc.ts";
import type { Config } from "../config.ts";
import { LogWriter } from "../log/log.ts";
import { type Outcome, repair } from "../repair/repair.ts";
import { openRepairRooms } from "../repair/rooms.ts";
import { claimDatabase } from "./database.ts";

type Told = Pick<Outcome, "area" | "subject" | "problem" | "detail"> & { readonly outcome: string };

/** How it is told. */
export interface RepairFlags {
  readonly verify: boolean;
  readonly json: boolean;
}

/**
 * Repairs, and prints what was done for each finding; attempts go to stderr.
 * @returns the exit status: 0 when nothing is wrong any more, 1 when something is left
 * @throws Error when it cannot be looked
 */
export async function repairAndTell(config: Config, { verify, json }: RepairFlags): Promise<number> {
  const outcomes: Told[] = [];
  for await (const told of outcomesOf(config, verify)) {
    if (told.outcome === "doing") {
      await Bun.write(Bun.stderr, `${told.detail}\n`);
      continue;
    }
    outcomes.push(told);
    if (!json) await Bun.write(Bun.stdout, `${lineOf(told)}\n`);
  }
  const left = outcomes.filter(({ outcome }) => outcome !== "repaired").length;
  if (json) {
    const findings = outcomes.map(({ area, subject, problem, outcome, detail }) => {
      return { area, subject, problem, outcome, detail };
    });
    await Bun.write(
      Bun.stdout,
      `${JSON.stringify({ repaired: outcomes.length - left, left, findings }, undefined, 2)}\n`,
    );
  } else {
    const repaired = `${outcomes.length - left} repaired, ${left} left`;
    await Bun.write(Bun.stdout, `${outcomes.length === 0 ? "nothing wrong" : repaired}\n`);
  }
  return left > 0 ? 1 : 0;
}

/** An outcome as one line. */
function lineOf({ area, subject, problem, outcome, detail }: Told): string {
  return `${outcome}: ${area} ${subject}: ${problem}${detail === "" ? "" : `; ${detail}`}`;
}

async function* outcomesOf(config: Config, verify: boolean): AsyncGenerator<Told> {
  const { lock } = claimDatabase(config.root);
  if (lock === undefined) {
    const api = new GrpcClient(config.grpc.address);
    try {
      yield* api.stream("berth.v1.Repair", "Run", { verify });
    } finally {
      api.close();
    }
    return;
  }
  try {
    const { rooms, close } = await openRepairRooms(config, new LogWriter("error"));
    try {
      yield* repair(rooms, { verify, isLive: false, signal: new AbortController().signal });
    } finally {
      await close();
    }
  } finally {
    lock.release();
  }
}
