/** Errors of the file system as clients shall see them. */

import { ContainerdError, messageOf, unknown } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";

/** Runs what touches the disk. @throws ContainerdError: ResourceExhausted for a full disk, Unknown for the rest */
export async function onDisk<T>(call: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof ContainerdError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOSPC" || code === "EDQUOT") {
      throw new ContainerdError(
        Code.ResourceExhausted,
        `${call}: ${messageOf(error)}: the disk is full, remove images or snapshots: resource exhausted`,
        { cause: error },
      );
    }
    throw unknown(`${call}: ${messageOf(error)}`, error);
  }
}
