/** Mounts as stacks of directories, and two of them in one place to be compared. */

import { type Mount, mountAll, splitLower, unquote } from "../../shim/linux/index.ts";

const UPPER = "upperdir=";
const LOWER = "lowerdir=";

/**
 * The directories that mounts show, the uppermost first, where they are a single bind or overlay; undefined for others,
 * of which only their own file system knows.
 */
export function stackOf(mounts: readonly Mount[]): string[] | undefined {
  const [only] = mounts;
  if (mounts.length === 0) return [];
  if (mounts.length > 1 || only === undefined || only.target !== "") return undefined;
  if (only.type === "overlay") {
    const upper = only.options.find((option) => option.startsWith(UPPER))?.slice(UPPER.length);
    const lower = only.options.find((option) => option.startsWith(LOWER))?.slice(LOWER.length);
    const lowers = splitLower(lower ?? "").map(unquote);
    return upper === undefined ? lowers : [unquote(upper), ...lowers];
  }
  return only.options.some((option) => option === "bind" || option === "rbind") ? [only.source] : undefined;
}

/**
 * The directories of `upper` above those of `lower`, the uppermost first: only what is in them can differ.
 * @returns undefined when `lower` is not the lower part of `upper`
 */
export function directoriesAbove(upper: readonly Mount[], lower: readonly Mount[]): string[] | undefined {
  const [above, below] = [stackOf(upper), stackOf(lower)];
  if (above === undefined || below === undefined || below.length === 0) return undefined;
  const count = above.length - below.length;
  if (count < 0 || !below.every((directory, i) => directory === above[count + i])) return undefined;
  return above.slice(0, count);
}

/** True when an overlay keeps its marks in the `user.` namespace. */
export function hasUserMarks(mounts: readonly Mount[]): boolean {
  return mounts.some(({ options }) => options.includes("userxattr"));
}

/**
 * Mounts what is to be looked at, without any way to write: an upper directory becomes the first of the lower ones, so
 * that overlayfs does not care whether somebody else has it.
 * @throws ErrnoError, MountError
 */
export function mountReadOnly(mounts: readonly Mount[], directory: string): void {
  mountAll(mounts.map(readOnly), directory);
}

function readOnly(mount: Mount): Mount {
  const kept = mount.options.filter((option) => option !== "rw" && option !== "ro");
  if (mount.type !== "overlay") return { ...mount, options: [...kept, "ro"] };
  const upper = kept.find((option) => option.startsWith(UPPER))?.slice(UPPER.length);
  const lower = kept.find((option) => option.startsWith(LOWER))?.slice(LOWER.length);
  const others = kept.filter((option) => !/^(?:upperdir|workdir|lowerdir)=|^index=/.test(option));
  const stack = [upper, lower].filter((part) => part !== undefined).join(":");
  return { ...mount, options: [...others, `${LOWER}${stack}`, "ro"] };
}
