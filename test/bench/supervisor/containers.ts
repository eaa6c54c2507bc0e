/** Containers: one after another, fifty at once, and what the daemon's memory comes to. */

import { each, inTurns, seconds } from "../turns.ts";
import { type Bench, rssOf, type Subject } from "./rig.ts";

/** `ctr run --rm IMAGE true`, wall. */
export async function measureRun({ subjects, rig, scale, samples }: Bench): Promise<void> {
  await inTurns(subjects, scale.runPairs, async (subject, record) => {
    const outcome = await rig.ctr(subject, ["run", "--rm", ...rig.runFlags(subject), rig.image, rig.freshId(), "true"]);
    if (record) samples.add("run", subject.name, outcome.seconds);
  });
}

/** Fifty `ctr run -d` at once, until all are running; and their end. */
export async function measureMany(bench: Bench): Promise<void> {
  const { subjects, scale, samples } = bench;
  await inTurns(subjects, scale.manyPairs, async (subject, record) => {
    const { ids, up } = await startMany(bench, subject);
    const down = await endMany(bench, subject, ids);
    if (!record) return;
    samples.add("many", subject.name, up);
    samples.add("many-down", subject.name, down);
  });
}

/** Memory of a daemon that was just started, idle; then with fifty containers, right after and idle again. */
export async function measureMemory(bench: Bench): Promise<void> {
  const { subjects, scale, samples } = bench;
  const idle = (): Promise<void> => Bun.sleep(scale.memorySettle * 1000);
  for (let pair = 0; pair < scale.memoryPairs; pair++) {
    for (const { daemon } of subjects) await daemon.restart();
    await idle();
    for (const subject of subjects) samples.add("rss", subject.name, rssOf(subject));
    for (const subject of subjects) {
      const { ids } = await startMany(bench, subject);
      samples.add("rss-busy", subject.name, rssOf(subject));
      await idle();
      samples.add("rss-many", subject.name, rssOf(subject));
      await endMany(bench, subject, ids);
    }
  }
}

async function startMany({ rig, scale }: Bench, subject: Subject): Promise<{ ids: string[]; up: number }> {
  const ids = Array.from({ length: scale.manyContainers }, () => rig.freshId());
  await rig.settle();
  const up = await seconds(() =>
    each(ids, ids.length, (id) =>
      rig.ctr(subject, ["run", "-d", ...rig.runFlags(subject), rig.image, id, "sleep", "1000"]),
    ),
  );
  const { stdout } = await rig.ctr(subject, ["task", "ls"]);
  const running = ids.filter((id) => new RegExp(`^${id}\\s+\\d+\\s+RUNNING`, "m").test(stdout));
  if (running.length !== ids.length) {
    throw new Error(`${subject.name}: ${running.length} of ${ids.length} containers run:\n${stdout}`);
  }
  return { ids, up };
}

async function endMany({ rig }: Bench, subject: Subject, ids: readonly string[]): Promise<number> {
  const down = await seconds(() => each(ids, ids.length, (id) => rig.ctr(subject, ["task", "rm", "--force", id])));
  await each(ids, 4, (id) => rig.ctr(subject, ["container", "rm", id]));
  return down;
}
