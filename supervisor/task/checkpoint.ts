/** Checkpoints of tasks as content, and back (plugins/services/tasks/local.go). */

import { unknown } from "../../proto/errdefs.ts";
import type { containerd } from "../../proto/gen/supervisor.js";
import type { Any } from "./launch.ts";
import type { Task } from "./task.ts";

type Descriptor = containerd.types.Descriptor.$Properties;

/** The directory that a task is restored from; empty for none. */
export interface RestorePath {
  readonly path: string;
  /** Removes the directory, when it was made for this. */
  discard(): void;
}

/** Makes checkpoints of one daemon. */
export class Checkpoints {
  async restorePath(_namespace: string, given: string, descriptor: Descriptor | undefined): Promise<RestorePath> {
    if (given === "" && descriptor !== undefined)
      throw unknown(`unsupported checkpoint type "${descriptor.mediaType ?? ""}"`);
    return { path: given, discard() {} };
  }

  async checkpoint(
    _task: Task,
    _container: unknown,
    _options: Any | undefined,
    _lease: string | undefined,
  ): Promise<Descriptor[]> {
    throw unknown("checkpoint");
  }
}
