/**
 * Whether new containers are well: healthy by their check, ended well, or still running after a while. Pure: events and
 * the time, in milliseconds of a monotonic clock, come from outside.
 */

/** What is expected of one container. */
export interface Expectation {
  readonly id: string;
  /** It runs already: another check is what is new. */
  readonly isRunning: boolean;
  /** It has a health check: its verdict counts. */
  readonly hasCheck: boolean;
  /** The check that counts, as the container's label has it; undefined for any. */
  readonly check?: string | undefined;
  /** Others wait until it has ended well. */
  readonly mustComplete: boolean;
  /** Its end with status 0 is well: it is not restarted after that. */
  readonly mayComplete: boolean;
  /** It is started again when it ends with another status. */
  readonly restarts: boolean;
  /** From its start to the verdict, at most. */
  readonly limitMs: number;
}

/** Something that happened to a container. */
export type Sign =
  | { readonly id: string; readonly kind: "started" }
  | { readonly id: string; readonly kind: "ended"; readonly status: number }
  | { readonly id: string; readonly kind: "removed" }
  | {
      readonly id: string;
      readonly kind: "health";
      readonly status: string;
      /** By which check, as the container's label had it; undefined when that is known to be the right one. */
      readonly check?: string | undefined;
    };

/** What is known of one container. */
export type Verdict = { readonly is: "pending" | "well" } | { readonly is: "failed"; readonly reason: string };

/** How long what takes. */
export interface JudgeSettings {
  /** A container without a check is well when it has run for so long without a break. */
  readonly stableMs: number;
  /** A container has so long until its first start. */
  readonly startMs: number;
}

/** Ends of a container after which it is not waited for any more. */
const MAX_ENDS = 3;

interface Progress {
  readonly expectation: Expectation;
  startedAt: number | undefined;
  /** The start of its present run. */
  runsSince: number | undefined;
  ends: number;
  verdict: Verdict;
}

const well: Verdict = { is: "well" };

/** Watches some containers from the moment on that it is made. */
export class Judge {
  readonly #settings: JudgeSettings;
  readonly #begun: number;
  readonly #watched: Map<string, Progress>;

  constructor(expectations: readonly Expectation[], settings: JudgeSettings, now: number) {
    this.#settings = settings;
    this.#begun = now;
    this.#watched = new Map(
      expectations.map((expectation) => [
        expectation.id,
        {
          expectation,
          startedAt: expectation.isRunning ? now : undefined,
          runsSince: expectation.isRunning ? now : undefined,
          ends: 0,
          verdict: { is: "pending" },
        },
      ]),
    );
  }

  /** The containers that are not decided. */
  get pending(): string[] {
    return [...this.#watched].flatMap(([id, { verdict }]) => (verdict.is === "pending" ? [id] : []));
  }

  /** True when one of them has run. */
  get hasStarted(): boolean {
    return [...this.#watched.values()].some(({ startedAt }) => startedAt !== undefined);
  }

  /** The verdict of one; undefined for a container that is not watched. */
  verdict(id: string): Verdict | undefined {
    return this.#watched.get(id)?.verdict;
  }

  /** The first that failed. */
  get failure(): { readonly id: string; readonly reason: string } | undefined {
    for (const [id, { verdict }] of this.#watched) if (verdict.is === "failed") return { id, reason: verdict.reason };
    return undefined;
  }

  /** Takes note of a sign. */
  saw(sign: Sign, now: number): void {
    const found = this.#watched.get(sign.id);
    if (found === undefined || found.verdict.is !== "pending") return;
    const { hasCheck, check, mustComplete, mayComplete, restarts } = found.expectation;
    switch (sign.kind) {
      case "started":
        found.startedAt ??= now;
        found.runsSince = now;
        break;
      case "ended":
        // The end of its predecessor, told late.
        if (found.runsSince === undefined) break;
        found.runsSince = undefined;
        found.ends++;
        if (sign.status === 0 && mayComplete) found.verdict = well;
        else if (found.ends >= MAX_ENDS || !restarts) {
          const times = found.ends > 1 ? `ended ${found.ends} times, the last time` : "ended";
          found.verdict = failed(`${times} with status ${sign.status}`);
        }
        break;
      case "removed":
        if (found.startedAt === undefined) break;
        found.verdict = failed("was removed by somebody else");
        break;
      case "health":
        if (!hasCheck || mustComplete || found.startedAt === undefined) break;
        // Told late: what an earlier check has found says nothing of this version.
        if (sign.check !== undefined && check !== undefined && sign.check !== check) break;
        if (sign.status === "healthy") found.verdict = well;
        else if (sign.status === "unhealthy") found.verdict = failed("is unhealthy");
        break;
    }
  }

  /** Decides what the time alone decides. */
  tick(now: number): void {
    for (const found of this.#watched.values()) {
      if (found.verdict.is !== "pending") continue;
      const { hasCheck, mustComplete, limitMs } = found.expectation;
      const { startedAt, runsSince } = found;
      if (startedAt === undefined) {
        if (now - this.#begun >= this.#settings.startMs) {
          found.verdict = failed(`did not start within ${seconds(this.#settings.startMs)}`);
        }
      } else if (!hasCheck && !mustComplete && runsSince !== undefined && now - runsSince >= this.#settings.stableMs) {
        found.verdict = well;
      } else if (now - startedAt >= limitMs) {
        const what = mustComplete ? "did not end" : hasCheck ? "did not become healthy" : "did not keep running";
        found.verdict = failed(`${what} within ${seconds(limitMs)}`);
      }
    }
  }

  /** When {@link tick} has something to decide; undefined when everything is decided. */
  get due(): number | undefined {
    let due: number | undefined;
    for (const { verdict, expectation, startedAt, runsSince } of this.#watched.values()) {
      if (verdict.is !== "pending") continue;
      const { hasCheck, mustComplete, limitMs } = expectation;
      const times = [startedAt === undefined ? this.#begun + this.#settings.startMs : startedAt + limitMs];
      if (!hasCheck && !mustComplete && runsSince !== undefined) times.push(runsSince + this.#settings.stableMs);
      due = Math.min(due ?? Number.POSITIVE_INFINITY, ...times);
    }
    return due;
  }
}

function failed(reason: string): Verdict {
  return { is: "failed", reason };
}

function seconds(ms: number): string {
  return `${Math.round(ms / 100) / 10} s`;
}
