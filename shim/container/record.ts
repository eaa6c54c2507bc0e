/** The true end of a container, which the shim keeps in the bundle so that `delete` repeats it (DL-6). */

/** What the file says. */
export interface ExitRecord {
  readonly pid: number;
  readonly exitStatus: number;
  /** Milliseconds since the epoch. */
  readonly exitedAt: number;
  /** Task.Delete has succeeded: runc and the mounts are clean. */
  readonly deleted: boolean;
}

/** The file's name in the bundle. */
export const recordFile = "exitstatus.json";

/** The record in the text of the file; undefined when there is none, or it is damaged. */
export function parseRecord(text: string): ExitRecord | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    const { pid, exitStatus, exitedAt, deleted } = value as Record<string, unknown>;
    if (![pid, exitStatus, exitedAt].every((number) => Number.isSafeInteger(number) && Number(number) >= 0)) {
      return undefined;
    }
    return { pid: Number(pid), exitStatus: Number(exitStatus), exitedAt: Number(exitedAt), deleted: deleted === true };
  } catch {
    return undefined;
  }
}
