/**
 * Watches a cgroup for OOM kills, to be armed right after create (T-CRE-6, R19). v1: an eventfd registered in
 * cgroup.event_control; v2: inotify on memory.events. Both only say "look": what counts is the kernel's `oom_kill`
 * counter, so that a kill is reported once, however it was noticed. The descriptors sit in the event loop's epoll and
 * cost no wake-up while nothing happens. Upstream: containerd pkg/oom/v1/v1.go, internal/oom/watcher.go.
 */

import type { Cgroup } from "./find.ts";
import { close, eventfd, inotify, isDirectory, listNames, openFile, readText, writeText } from "./kernel.ts";
import { parseKeyValues } from "./parse.ts";

/** A cgroup under watch. */
export interface OomWatch {
  /**
   * Looks now, synchronously: when there was an OOM kill not yet reported, calls `onOom` and returns true. The shim calls
   * it right before it publishes an exit, so that the OOM that explains the exit goes first. Never throws.
   */
  check(): boolean;
  /** Ends the watch and releases its descriptors; never throws, and may be called again. */
  close(): void;
}

/**
 * v1 only: the kernel notifies before it kills, so the counter may not have moved when we look. Milliseconds after the
 * notification at which to look again.
 */
const secondLooks = [1, 10, 100, 1000];

/** Counts OOM kills; a look is true when there are new ones. */
type Look = () => boolean;

/** v2: one counter, which includes child cgroups. */
function unifiedLook(directory: string): Look {
  const read = () => Number(parseKeyValues(readText(`${directory}/memory.events`) ?? "").get("oom_kill") ?? 0);
  let seen = read();
  return () => {
    const count = read();
    const grew = count > seen;
    seen = Math.max(seen, count);
    return grew;
  };
}

/** What a v1 memory cgroup holds beside its children. */
function isControlFile(name: string): boolean {
  return /^(memory\.|cgroup\.|tasks$|notify_on_release$|release_agent$)/.test(name);
}

/** v1: a kill is counted in the victim's own cgroup, which may be a child of the one that ran out of memory. */
function legacyLook(directory: string): { look: Look; counts: boolean } {
  let counts = false;
  let seen = new Map<string, number>();
  const visit = (path: string, found: Map<string, number>): void => {
    const text = readText(`${path}/memory.oom_control`);
    if (text === undefined) {
      return;
    }
    const kills = parseKeyValues(text).get("oom_kill");
    counts ||= kills !== undefined;
    found.set(path, Number(kills ?? 0));
    for (const name of listNames(path)) {
      if (!isControlFile(name)) {
        visit(`${path}/${name}`, found);
      }
    }
  };
  visit(directory, seen);
  const look = () => {
    const found = new Map<string, number>();
    visit(directory, found);
    let grew = false;
    for (const [path, count] of found) {
      grew ||= count > (seen.get(path) ?? 0);
    }
    seen = found;
    return grew;
  };
  return { look, counts };
}

/**
 * Has the event loop read a descriptor, which is taken over, until the returned function is called. `onWake` runs each
 * time there was something to read.
 */
function pump(fd: number, onWake: () => void, onError: (error: unknown) => void): () => void {
  const reader = Bun.file(fd).stream().getReader();
  let open = true;
  const run = async (): Promise<void> => {
    while (open) {
      const { done } = await reader.read();
      if (done || !open) {
        return;
      }
      onWake();
    }
  };
  run().catch((error: unknown) => {
    if (open) {
      onError(error);
    }
  });
  // The stream reads a duplicate, made by the first read and closed by cancel; this one is of no more use.
  close(fd);
  return () => {
    if (open) {
      open = false;
      reader.cancel().catch(() => {});
    }
  };
}

/** Runs `make`; when it throws, closes the descriptor. */
function orClose<T>(fd: number, make: () => T): T {
  try {
    return make();
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** Registers an eventfd with the kernel for the OOM notifications of a v1 memory cgroup. */
function registerEvent(directory: string): number {
  const fd = eventfd();
  let control = -1;
  try {
    control = openFile(`${directory}/memory.oom_control`);
    writeText(`${directory}/cgroup.event_control`, `${fd} ${control}`);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  } finally {
    // The kernel needs it during the registration only.
    close(control);
  }
}

/**
 * Watches for OOM kills from now on. `onOom` is called once for each time that new kills are seen. `onError` hears of a
 * failing descriptor; `check` still works then.
 * @throws ErrnoError when the cgroup is gone or its memory controller is off
 */
export function watchOom(cgroup: Cgroup, onOom: () => void, onError: (error: unknown) => void = () => {}): OomWatch {
  const directory = cgroup.version === 2 ? cgroup.directory : cgroup.controllers.get("memory");
  if (directory === undefined) {
    throw new Error("memory cgroup not supported on this system");
  }
  let closed = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let look: Look;

  const check = (): boolean => {
    try {
      if (closed || !look()) {
        return false;
      }
    } catch (error) {
      onError(error);
      return false;
    }
    onOom();
    return true;
  };

  let stop: () => void;
  if (cgroup.version === 2) {
    // Watched before the first count: a kill in between is seen by one or the other.
    const fd = inotify(`${directory}/memory.events`);
    look = orClose(fd, () => unifiedLook(directory));
    stop = pump(fd, check, onError);
  } else {
    const fd = registerEvent(directory);
    const legacy = orClose(fd, () => legacyLook(directory));
    look = legacy.look;
    const lookAgain = (index: number): void => {
      clearTimeout(timer);
      const delay = secondLooks[index];
      if (delay !== undefined && !closed) {
        timer = setTimeout(() => {
          check();
          lookAgain(index + 1);
        }, delay);
        timer.unref();
      }
    };
    const onWake = (): void => {
      // The kernel also notifies when the cgroup is removed.
      if (!isDirectory(directory)) {
        return;
      }
      if (check()) {
        lookAgain(0);
        return;
      }
      const control = parseKeyValues(readText(`${directory}/memory.oom_control`) ?? "");
      // With the OOM killer off nothing is killed, and the processes hang until somebody acts; and before Linux 4.13
      // the notification is all there is.
      if (
        control.size > 0 &&
        (!legacy.counts || (control.get("oom_kill_disable") === 1 && control.get("under_oom") === 1))
      ) {
        onOom();
      } else {
        lookAgain(0);
      }
    };
    stop = pump(fd, onWake, onError);
  }

  return {
    check,
    close: () => {
      closed = true;
      clearTimeout(timer);
      stop();
    },
  };
}
