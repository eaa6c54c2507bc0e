/** What the restart monitor keeps of one container, in memory, and what of it others are told. */

import { Backoff, type BackoffSettings } from "./backoff.ts";

/** What is known of one container. */
export interface Watched {
  readonly backoff: Backoff;
  /** When its task began to run; undefined when that was before us. */
  startedAt: number | undefined;
  /** How its last run ended; undefined while nobody has seen an end. */
  exitStatus: number | undefined;
  /** Ends that were seen: more of them than before means that there was one meanwhile. */
  ends: number;
  /** Starts that the monitor made. */
  restarts: number;
  /** What went wrong last; a start that goes well leaves it, so that a person still sees it. */
  lastError: string | undefined;
  /** Why it was started last, or is to be. */
  reason: string | undefined;
  /** It is to be started whatever its policy says, because its check asked for that. */
  isForced: boolean;
  /** The next end does not begin the waits anew, however long the run was. */
  keepsWait: boolean;
  /** What it waits for before it starts, in words for people. */
  waitingFor: readonly string[];
  /** Its policy has no start left. */
  hasGivenUp: boolean;
  /** No start before this, whatever else happens: the wait that the container's ends and failures have earned. */
  notBefore: number;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer goes off. */
  due: number;
  isAtWork: boolean;
  /** Goes off when it has waited for others for long. */
  longWait: ReturnType<typeof setTimeout> | undefined;
}

/** What others are told of the restarts of a container. */
export interface Description {
  /** Starts that the daemon has made since it runs. */
  readonly restarts: number;
  /** The exit status of the last run; undefined when none has ended that this daemon knows of. */
  readonly lastExit: number | undefined;
  /** The last start that failed, in its own words. */
  readonly lastError: string | undefined;
  /** Why it was started last, or is to be. */
  readonly reason: string | undefined;
  /** Milliseconds until the next start; undefined when none is due. */
  readonly nextAttemptInMs: number | undefined;
  /** What it waits for before it starts, such as `db to be healthy (it is starting)`. */
  readonly waitingFor: readonly string[];
  /** True when its policy (`on-failure:n`) has no start left. */
  readonly hasGivenUp: boolean;
}

/** A container of which nothing is known yet. */
export function newWatched(settings: BackoffSettings): Watched {
  return {
    backoff: new Backoff(settings),
    startedAt: undefined,
    exitStatus: undefined,
    ends: 0,
    restarts: 0,
    lastError: undefined,
    reason: undefined,
    isForced: false,
    keepsWait: false,
    waitingFor: [],
    hasGivenUp: false,
    notBefore: 0,
    timer: undefined,
    due: 0,
    isAtWork: false,
    longWait: undefined,
  };
}

/** Takes the next wait, which also holds back a start for any other reason. @returns the wait in milliseconds */
export function backOff(watched: Watched): number {
  const wait = watched.backoff.next();
  watched.notBefore = performance.now() + wait;
  return wait;
}

/** Notes an end. */
export function ended(watched: Watched, exitStatus: number): void {
  const { startedAt, backoff } = watched;
  watched.exitStatus = exitStatus;
  watched.ends++;
  if (!watched.isForced) watched.reason = `it ended with exit status ${exitStatus}`;
  if (!watched.keepsWait) backoff.ran(startedAt === undefined ? undefined : performance.now() - startedAt);
  watched.keepsWait = false;
}

/** Forgets its timers. */
export function clearTimers(watched: Watched): void {
  clearTimeout(watched.timer);
  clearTimeout(watched.longWait);
  watched.timer = undefined;
  watched.longWait = undefined;
}

/** What of it others are told. */
export function describe(watched: Watched): Description {
  const { restarts, exitStatus, lastError, reason, waitingFor, hasGivenUp } = watched;
  const isDue = watched.timer !== undefined && waitingFor.length === 0;
  return {
    restarts,
    lastExit: exitStatus,
    lastError,
    reason,
    nextAttemptInMs: isDue ? Math.max(0, Math.round(watched.due - performance.now())) : undefined,
    waitingFor,
    hasGivenUp,
  };
}
