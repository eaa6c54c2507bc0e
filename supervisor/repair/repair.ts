/** `berth check --repair`: finds everything that is wrong, puts right what can be, and tells of each what was done. */

import { messageOf } from "../../proto/errdefs.ts";
import { detach } from "../../shim/linux/index.ts";
import { checkAll, checkLive, keyOf } from "../check/check.ts";
import type { Finding } from "../check/finding.ts";
import { type CheckRecords, readRecords } from "../check/records.ts";
import { isLayer } from "../image/mediatype.ts";
import { type Repaired, repairBlob } from "./blobs.ts";
import { restoreImage } from "./images.ts";
import { Known } from "./known.ts";
import type { RepairRooms } from "./rooms.ts";
import { repairSnapshot } from "./snapshots.ts";

/** How long what may be under way just now has to be over. */
const SECOND_LOOK_MS = 2000;

/** What came of one finding; `doing` tells of an attempt that is begun. */
export interface Outcome {
  readonly area: string;
  readonly subject: string;
  readonly problem: string;
  readonly outcome: "repaired" | "left" | "doing";
  readonly detail: string;
}

/** How a repair is made. */
export interface RepairOptions {
  /** Read every blob and compare its digest. */
  readonly verify: boolean;
  /** The daemon works meanwhile: only what is wrong twice is wrong. */
  readonly isLive: boolean;
  readonly signal: AbortSignal;
  /** Resolves when layers are on disk, or it is clear that they are not. */
  readonly settled?: () => Promise<void>;
}

/** Finds and repairs; tells of each finding when it was dealt with, and of attempts before. */
export async function* repair(rooms: RepairRooms, options: RepairOptions): AsyncGenerator<Outcome> {
  const { signal } = options;
  const { root, state } = rooms.config;
  const read = async (): Promise<CheckRecords> => {
    await options.settled?.();
    return readRecords(rooms.database);
  };
  const look = async (verify: boolean): Promise<Finding[]> => {
    const checked = { root, state, verify };
    const found = options.isLive
      ? (await checkLive(read, checked, SECOND_LOOK_MS)).findings
      : await checkAll(await read(), checked);
    return found.filter(({ severity }) => severity === "error");
  };
  const found = await look(options.verify);
  if (found.length === 0) return;
  // What nobody needs needs no repair.
  await rooms.collector.collect();
  const done = new Map<Finding, Repaired>();
  let known = await Known.read(rooms);
  for (const finding of ordered(found, known)) {
    signal.throwIfAborted();
    const steps: string[] = [];
    let wake: (() => void) | undefined;
    let outcome: Repaired | undefined;
    const context = {
      signal,
      told: (what: string): void => {
        steps.push(what);
        wake?.();
      },
    };
    const working = one(rooms, known, finding, read, context).then((value) => {
      outcome = value;
      wake?.();
    });
    while (outcome === undefined || steps.length > 0) {
      for (const detail of steps.splice(0)) yield { ...subjectOf(finding), outcome: "doing", detail };
      if (outcome !== undefined) break;
      await Promise.race([working, new Promise<void>((resolve) => (wake = resolve))]);
    }
    await working;
    if (outcome === undefined) continue;
    done.set(finding, outcome);
    if (outcome.isRepaired && tellsOfOthers(finding, known)) known = await Known.read(rooms);
  }
  const told = new Set<string>();
  // Whatever was done: what is wrong still is left.
  const still = new Map((await look(false)).map((finding) => [identityOf(finding), finding]));
  for (const finding of found) {
    const { isRepaired = false, detail = "" } = done.get(finding) ?? {};
    const isGood = isRepaired && !still.has(identityOf(finding));
    told.add(identityOf(finding));
    yield { ...subjectOf(finding), outcome: isGood ? "repaired" : "left", detail };
  }
  for (const [identity, finding] of still) {
    if (told.has(identity)) continue;
    yield { ...subjectOf(finding), outcome: "left", detail: "it came up during the repair: check again" };
  }
}

/** What a finding is about, however it is told. */
function identityOf(finding: Finding): string {
  return finding.about === undefined ? keyOf(finding) : JSON.stringify(finding.about);
}

function subjectOf({ area, subject, problem }: Finding): Pick<Outcome, "area" | "subject" | "problem"> {
  return { area, subject, problem };
}

const order = ["blob", "image", "snapshot", "tree", "mount"] as const;

/** Blobs first, since layers are unpacked from them, and of those the ones that tell of others. */
function ordered(findings: readonly Finding[], known: Known): Finding[] {
  const rank = (finding: Finding): number => {
    const { about } = finding;
    if (about === undefined) return order.length;
    if (about.kind !== "blob") return order.indexOf(about.kind);
    if (known.descriptor(about.digest) === undefined) return 0.5;
    return tellsOfOthers(finding, known) ? 0 : 0.25;
  };
  return findings.toSorted((a, b) => rank(a) - rank(b));
}

/** True for a finding whose repair makes known what other blobs and layers are. */
function tellsOfOthers({ about }: Finding, known: Known): boolean {
  if (about?.kind === "image") return true;
  const type = about?.kind === "blob" ? known.descriptor(about.digest)?.mediaType : undefined;
  return type !== undefined && !isLayer(type);
}

async function one(
  rooms: RepairRooms,
  known: Known,
  { about }: Finding,
  read: () => Promise<CheckRecords>,
  context: { readonly signal: AbortSignal; readonly told: (what: string) => void },
): Promise<Repaired> {
  try {
    switch (about?.kind) {
      case "blob":
        return await repairBlob(rooms, known, about.digest, context);
      case "image":
        return await restoreImage(rooms, about, [], context);
      case "snapshot":
      case "tree":
        return await repairSnapshot(rooms, known, await read(), about, context);
      case "mount":
        context.told(`unmounting ${about.path}`);
        detach(about.path);
        return { isRepaired: true, detail: `${about.path} was unmounted` };
      case undefined:
        return { isRepaired: false, detail: "only you can put this right" };
    }
  } catch (error) {
    if (context.signal.aborted) throw error;
    return { isRepaired: false, detail: messageOf(error) };
  }
}
