/** The Applications service: berthd's own. */

import { dirname, isAbsolute } from "node:path";
import { invalidArgument } from "../../proto/errdefs.ts";
import type { berth } from "../../proto/gen/supervisor.js";
import type { How } from "../app/applications.ts";
import { canonical } from "../app/canonical.ts";
import { type Describing, describeAll, describeApplication, describeRevisions } from "../app/describe.ts";
import type { Progress } from "../app/engine.ts";
import type { Plan } from "../app/plan.ts";
import { readVersion, type Version } from "../app/version.ts";
import type { Handlers } from "./server.ts";

type AppProgress = berth.v1.AppProgress.$Properties;
type Request = berth.v1.ApplyRequest;
/** Progress that waits for a caller, at most: then what is a pull's is left out. */
const MAX_QUEUED = 1000;

export function appsService(from: Describing): Handlers<"berth.v1.Applications"> {
  const { applications, store, directory } = from;
  const done = async (name: string): Promise<AppProgress> => ({
    step: "done",
    application: await describeApplication(from, applications.state(name)),
  });
  return {
    async *Apply(request, { namespace, signal }) {
      const version = versionOf(request, directory);
      const { name } = version.application;
      const { timeoutMs, noRollback, file } = request;
      for (const message of version.warnings) yield { step: "plan", message };
      const origin = isWatched(request, directory) ? file : undefined;
      yield* reported(signal, (tell) =>
        applications.apply(namespace, version, origin, { timeoutMs, noRollback, tell }),
      );
      yield await done(name);
    },
    async Diff(request, { namespace }) {
      const version = versionOf(request, directory);
      const { plan, desired } = await applications.diff(namespace, version);
      const obstacles = plan.obstacles.map((obstacle) => `this would fail: ${obstacle}`);
      return { name: desired.app, changes: changesOf(plan), warnings: [...version.warnings, ...obstacles] };
    },
    async *Rollback({ name, revision, timeoutMs }, { signal }) {
      yield* reported(signal, (tell) => applications.rollback(name, revision, { timeoutMs, tell }));
      yield await done(name);
    },
    async List(_, { namespace }) {
      const all = await describeAll(from);
      return { applications: all.filter((one) => !one.namespace || one.namespace === namespace) };
    },
    async Get({ name }) {
      const problem = from.problems().find((one) => one.name === name);
      const known = applications.states.some((state) => state.name === name);
      if (!known && problem !== undefined) {
        const { file, kind, message } = problem;
        return { application: { name, file, state: kind, error: message }, revisions: [], text: "" };
      }
      const state = applications.state(name);
      return {
        application: await describeApplication(from, state),
        revisions: describeRevisions(store, state),
        text: store.revision(name, state.current)?.text ?? "",
      };
    },
    async *Remove({ name, volumes }, { signal }) {
      const { origin } = applications.state(name);
      if (origin !== undefined) {
        throw invalidArgument(`application ${name} is what ${origin} says: take that file away, and it goes`);
      }
      yield* reported(signal, (tell) => applications.remove(name, volumes, { tell }));
      yield { step: "done", message: `application ${name} is removed` };
    },
  };
}

/** True for a file of the watched directory: it may be applied by hand, to try a version again that was not well. */
function isWatched({ file }: Request, directory: string): boolean {
  return directory !== "" && dirname(file) === directory;
}

/** A watched file is read as the watch reads it: with the daemon's environment. */
function versionOf(request: Request, watched: string): Version {
  const { text, file, directory, environment, name } = request;
  if (!isAbsolute(directory)) throw invalidArgument("directory must be an absolute path");
  const given = (variable: string) => (Object.hasOwn(environment, variable) ? environment[variable] : undefined);
  const own = (variable: string) => process.env[variable];
  return readVersion(text, {
    file: file || "-",
    directory,
    environment: isWatched(request, watched) ? own : given,
    ...(name === "" ? {} : { name }),
  });
}

/** What is told of some work, while it goes on. When the caller leaves, the work does not end. */
async function* reported(
  signal: AbortSignal,
  work: (tell: NonNullable<How["tell"]>) => Promise<unknown>,
): AsyncGenerator<AppProgress> {
  const queue: Progress[] = [];
  let wake: (() => void) | undefined;
  let isOver = false;
  const doing = work((progress) => {
    if (queue.length < MAX_QUEUED || progress.step !== "pull") queue.push(progress);
    wake?.();
  }).finally(() => {
    isOver = true;
    wake?.();
  });
  // Whoever has left is not told of the failure: the log is.
  doing.catch(() => undefined);
  const leave = (): void => wake?.();
  signal.addEventListener("abort", leave);
  try {
    while (!signal.aborted) {
      yield* queue.splice(0);
      if (isOver) break;
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (isOver || queue.length > 0 || signal.aborted) resolve();
      });
    }
  } finally {
    signal.removeEventListener("abort", leave);
  }
  if (!signal.aborted) await doing;
}

function changesOf({ steps, kept }: Plan): berth.v1.AppChange.$Properties[] {
  const changes = steps.map((step): berth.v1.AppChange.$Properties => {
    switch (step.kind) {
      case "network":
        return { kind: "network", id: step.network.name, action: "create" };
      case "remove-network":
        return { kind: "network", id: step.name, action: "remove" };
      case "volume":
        return { kind: "volume", id: step.name, action: "create" };
      case "remove":
        return { kind: "container", id: step.id, action: "remove", service: step.service };
      default: {
        const { id, service } = step.container;
        const keys = "changes" in step ? step.changes : [];
        return {
          ...{ kind: "container", id, action: step.kind, service },
          keys: keys.map(({ key, before, after }) => ({ key, before: textOf(before), after: textOf(after) })),
        };
      }
    }
  });
  return [...changes, ...kept.map(({ id, service }) => ({ kind: "container", id, action: "keep", service }))];
}

function textOf(value: unknown): string {
  return value === undefined ? "" : canonical(value);
}
