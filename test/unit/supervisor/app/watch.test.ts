/** The watched directory, with applications of paper: what it asks for, and what it says of files. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unavailable } from "../../../../proto/errdefs.ts";
import type { Applications } from "../../../../supervisor/app/applications.ts";
import { UnwellError } from "../../../../supervisor/app/engine.ts";
import type { AppState } from "../../../../supervisor/app/state.ts";
import type { Version } from "../../../../supervisor/app/version.ts";
import { AppFiles } from "../../../../supervisor/app/watch.ts";
import { silent } from "../../../../supervisor/log/log.ts";
import { waitFor } from "../../../lib/wait.ts";

let root = "";
let files: AppFiles | undefined;
beforeEach(() => {
  root = mkdtempSync(join(process.env["BERTH_TEST_RUN"] ?? tmpdir(), "watch-"));
});
afterEach(() => {
  files?.stop();
  rmSync(root, { recursive: true, force: true });
});

/** Applications that do what they are told at once. */
class Paper {
  readonly all = new Map<string, AppState>();
  readonly done: string[] = [];
  failure: Error | undefined;

  get states(): AppState[] {
    return [...this.all.values()];
  }
  async apply(namespace: string, { application: { name }, source }: Version, origin: string): Promise<void> {
    this.done.push(`apply ${name}`);
    const failed = this.failure;
    if (failed !== undefined && !(failed instanceof UnwellError)) throw failed;
    const result = failed === undefined ? "applied" : "failed";
    this.all.set(name, { name, namespace, origin, seen: source, next: 2, bad: [], result });
    if (failed !== undefined) throw failed;
  }
  async remove(name: string): Promise<void> {
    this.done.push(`remove ${name}`);
    this.all.delete(name);
  }
  adopt(name: string, origin: string): void {
    const state = this.all.get(name);
    if (state !== undefined) this.all.set(name, { ...state, origin });
  }
}

function watching(paper: Paper, directory = root): AppFiles {
  const applications = paper as unknown as Applications;
  files = new AppFiles({ directory, namespace: "n", applications, log: silent, debounceMs: 30 });
  files.start();
  return files;
}

const text = (image: string): string => `services: {s: {image: ${image}}}`;
const did = (paper: Paper, ...what: string[]): Promise<unknown> =>
  waitFor(
    what.join(", "),
    () => paper.done.length >= what.length && Bun.deepEquals(paper.done.toSorted(), what.toSorted()),
  );

test("files that are there, come, change, move and go; others are nobody's", async () => {
  const paper = new Paper();
  writeFileSync(join(root, "a.yaml"), text("i"));
  for (const name of [".hidden.yaml", "#a.yaml#", "a.yaml~", "a.yaml.swp", "notes.txt"])
    writeFileSync(join(root, name), "{");
  mkdirSync(join(root, "directory.yaml"));
  const watched = watching(paper);
  await did(paper, "apply a");
  writeFileSync(join(root, "b.yml"), text("i"));
  await did(paper, "apply a", "apply b");
  paper.done.splice(0);
  writeFileSync(join(root, "new"), text("j"));
  renameSync(join(root, "new"), join(root, "a.yaml"));
  await did(paper, "apply a");
  paper.done.splice(0);
  rmSync(join(root, "b.yml"));
  await did(paper, "remove b");
  paper.done.splice(0);
  // The name is in the file: it may be called otherwise.
  writeFileSync(join(root, "a.yaml"), `name: other\n${text("j")}`);
  await did(paper, "apply other", "remove a");
  renameSync(join(root, "a.yaml"), join(root, "z.yaml"));
  await waitFor("the new name", () => paper.all.get("other")?.origin === join(root, "z.yaml"));
  expect(watched.problems).toEqual([]);
});

test("a directory that is made later, and one that goes: that removes nothing", async () => {
  const paper = new Paper();
  const directory = join(root, "etc/berth/apps");
  watching(paper, directory);
  await Bun.sleep(50);
  mkdirSync(directory, { recursive: true });
  await Bun.sleep(50);
  writeFileSync(join(directory, "a.yaml"), text("i"));
  await did(paper, "apply a");
  renameSync(directory, `${directory}.away`);
  await Bun.sleep(200);
  expect(paper.done).toEqual(["apply a"]);
  renameSync(`${directory}.away`, directory);
  await Bun.sleep(100);
  writeFileSync(join(directory, "b.yaml"), text("i"));
  await did(paper, "apply a", "apply b");
  // Another directory in its place: what is not there is gone, and the new one is watched.
  rmSync(directory, { recursive: true });
  mkdirSync(directory);
  writeFileSync(join(directory, "a.yaml"), text("i"));
  await did(paper, "apply a", "apply b", "remove b");
  await Bun.sleep(100);
  writeFileSync(join(directory, "c.yaml"), text("i"));
  await did(paper, "apply a", "apply b", "remove b", "apply c");
});

test("what is wrong with files: each, until it is not", async () => {
  const paper = new Paper();
  const watched = watching(paper);
  writeFileSync(join(root, "a.yaml"), "services: {s: {imag: i}}");
  writeFileSync(join(root, "b.yaml"), `name: same\n${text("i")}`);
  writeFileSync(join(root, "c.yaml"), `name: same\n${text("i")}`);
  symlinkSync("/dev/null", join(root, "d.yaml"));
  await waitFor("three problems", () => watched.problems.length === 3);
  const messages = watched.problems.map(({ name, kind, message }) => `${name} ${kind} ${message}`).toSorted();
  expect(messages[0]).toContain(`a invalid ${root}/a.yaml:1:`);
  expect(messages[1]).toContain(`d invalid ${root}/d.yaml:1:1: the file is empty`);
  expect(messages[2]).toContain(`same invalid ${root}/c.yaml: ${root}/b.yaml is the application same, too`);
  expect(paper.done).toEqual(["apply same"]);
  writeFileSync(join(root, "a.yaml"), text("i"));
  rmSync(join(root, "c.yaml"));
  rmSync(join(root, "d.yaml"));
  await waitFor("no problem", () => watched.problems.length === 0);
});

test("what cannot be had now is tried again, what is bad is not until it changes", async () => {
  const paper = new Paper();
  paper.failure = unavailable("no way to the registry");
  const watched = watching(paper);
  writeFileSync(join(root, "a.yaml"), text("i"));
  await waitFor("it to wait", () => watched.problems[0]?.kind === "waiting");
  paper.failure = new UnwellError("it ended");
  watched.poke();
  await waitFor("it to be tried", () => paper.all.get("a")?.result === "failed");
  await waitFor("its state to tell", () => watched.problems.length === 0);
  const tries = paper.done.length;
  writeFileSync(join(root, "a.yaml"), text("i"));
  await Bun.sleep(200);
  expect(paper.done.length).toBe(tries);
  paper.failure = undefined;
  writeFileSync(join(root, "a.yaml"), text("j"));
  await waitFor("it to be applied", () => paper.all.get("a")?.result === "applied");
});

test("files of variables beside it, and elsewhere", async () => {
  const paper = new Paper();
  const elsewhere = join(root, "elsewhere");
  const directory = join(root, "apps");
  for (const path of [elsewhere, directory]) mkdirSync(path);
  writeFileSync(join(elsewhere, "v.env"), "A=1");
  writeFileSync(join(directory, "a.yaml"), `services: {s: {image: "i:$TAG", env_file: ${elsewhere}/v.env}}`);
  writeFileSync(join(directory, ".env"), "TAG=1");
  watching(paper, directory);
  await did(paper, "apply a");
  await Bun.sleep(50);
  writeFileSync(join(elsewhere, "v.env"), "A=2");
  await did(paper, "apply a", "apply a");
  writeFileSync(join(directory, ".env"), "TAG=2");
  await did(paper, "apply a", "apply a", "apply a");
});
