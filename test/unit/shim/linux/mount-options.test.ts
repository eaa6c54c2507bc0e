import { describe, expect, test } from "bun:test";
import {
  compactOverlay,
  MountError,
  MS,
  mapsIds,
  parseOptions,
  splitLower,
} from "../../../../shim/linux/mount-options.ts";

describe("UN-2 mount options", () => {
  test.each([
    [[], 0, []],
    [["ro"], MS.RDONLY, []],
    [["ro", "rw"], 0, []],
    [["rw", "ro"], MS.RDONLY, []],
    [["rbind", "ro"], MS.BIND | MS.REC | MS.RDONLY, []],
    [["nosuid", "nodev", "noexec"], MS.NOSUID | MS.NODEV | MS.NOEXEC, []],
    [["nosuid", "suid"], 0, []],
    [["noatime", "atime", "strictatime"], MS.STRICTATIME, []],
    [["defaults"], 0, []],
    [["sync", "dirsync", "mand"], MS.SYNCHRONOUS | MS.DIRSYNC | MS.MANDLOCK, []],
    [["mode=755", "size=64m"], 0, ["mode=755", "size=64m"]],
    [["lowerdir=/a:/b", "ro", "index=off"], MS.RDONLY, ["lowerdir=/a:/b", "index=off"]],
    [["X-containerd.custom=1", "ro"], MS.RDONLY, []],
    [["constructor", "toString", "__proto__"], 0, ["constructor", "toString", "__proto__"]],
    [["RO"], 0, ["RO"]],
  ] as const)("%j", (options, flags, data) => {
    expect(parseOptions(options)).toEqual({ flags, propagation: 0, data: [...data], loop: false, ids: undefined });
  });

  test.each([
    ["private", MS.PRIVATE],
    ["rprivate", MS.PRIVATE | MS.REC],
    ["rslave", MS.SLAVE | MS.REC],
    ["rshared", MS.SHARED | MS.REC],
    ["unbindable", MS.UNBINDABLE],
  ])("%s is a call of its own", (option, propagation) => {
    expect(parseOptions([option, "ro"])).toMatchObject({ propagation, data: [] });
    expect(parseOptions([option, "ro"]).flags & ~MS.REC).toBe(MS.RDONLY);
  });

  test("maps of ids are taken apart from the rest, the last of each counts", () => {
    const options = ["uidmap=0:1:1", "ro", "gidmap=0:7:1,1:9:2", "uidmap=0:5:1", "index=off"];
    const ids = { uids: "0:5:1", gids: "0:7:1,1:9:2" };
    expect(parseOptions(options)).toEqual({ flags: MS.RDONLY, propagation: 0, data: ["index=off"], loop: false, ids });
    expect(options.filter((option) => mapsIds([option]))).toHaveLength(3);
  });

  test("a file system in a file is told apart from the options of the file system", () => {
    const expected = { flags: MS.RDONLY, propagation: 0, data: ["errors=continue"], loop: true, ids: undefined };
    expect(parseOptions(["loop", "ro", "errors=continue"])).toEqual(expected);
  });

  // A map without the other is one that no client means.
  test.each(["uidmap=0:1000:1", "gidmap=0:1000:1", "uidmap="])("%s is refused, not ignored", (option) => {
    const refusal = expect.objectContaining({ invalid: true, message: expect.stringContaining(option) });
    expect(() => parseOptions(["ro", option])).toThrow(refusal);
    expect(() => parseOptions(["ro", option])).toThrow(MountError);
  });
});

test.each([
  ["/a", ["/a"]],
  ["/a:/b", ["/a", "/b"]],
  ["/a\\:b:/c", ["/a\\:b", "/c"]],
  ["/a\\\\:/b", ["/a\\\\", "/b"]],
  ["", []],
])("the lower directories in %j", (text, parts) => {
  expect(splitLower(text)).toEqual(parts);
});

describe("UN-2 an overlay named from the common parent of its layers", () => {
  test.each([
    ["siblings", ["/s/1/fs", "/s/2/fs"], "/s", "1/fs:2/fs"],
    ["one layer", ["/s/1/fs"], "/s/1", "fs"],
    ["the parent itself is a layer", ["/s", "/s/2"], "/s", ".:2"],
    ["the same layer twice", ["/s/1", "/s/1"], "/s/1", ".:."],
    ["a name that begins like another", ["/s/1", "/s/10", "/s/100"], "/s", "1:10:100"],
    ["different depths", ["/s/a/b/c", "/s/a"], "/s/a", "b/c:."],
    ["a slash at the end", ["/s/1/", "/s/2"], "/s", "1/:2"],
    ["a colon in a name", ["/s/a\\:b", "/s/c"], "/s", "a\\:b:c"],
    ["a colon in the parent", ["/s\\:t/1", "/s\\:t/2"], "/s:t", "1:2"],
    ["spaces and umlauts", ["/s ü/1", "/s ü/2"], "/s ü", "1:2"],
  ])("%s", (_, lowers, directory, relative) => {
    const data = ["index=off", `lowerdir=${lowers.join(":")}`, "upperdir=/u", "workdir=/w"];
    const expected = ["index=off", `lowerdir=${relative}`, "upperdir=/u", "workdir=/w"];
    expect(compactOverlay(data)).toEqual({ directory, data: expected });
  });

  test.each([
    ["nothing in common but the root", ["lowerdir=/a/1:/b/1"]],
    ["a layer at the root", ["lowerdir=/a"]],
    ["relative layers", ["lowerdir=a/1:a/2"]],
    ["mixed layers", ["lowerdir=/a/1:a/2"]],
    ["a relative upper directory", ["lowerdir=/a/1:/a/2", "upperdir=u"]],
    ["a relative work directory", ["lowerdir=/a/1:/a/2", "upperdir=/u", "workdir=w"]],
    ["data-only layers", ["lowerdir=/a/1::/a/2"]],
    ["no layers", ["upperdir=/u"]],
    ["an empty list", ["lowerdir="]],
    ["two lists", ["lowerdir=/a/1", "lowerdir=/a/2"]],
  ])("%s: left as it is", (_, data) => {
    expect(compactOverlay(data)).toEqual({ directory: undefined, data });
  });
});
