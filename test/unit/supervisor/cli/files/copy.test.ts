import { expect, test } from "bun:test";
import { parseEnd, placeFor } from "../../../../../supervisor/cli/files/copy.ts";

test("ends are told apart as docker does it", () => {
  expect(parseEnd("web:/etc/passwd")).toEqual({ container: "web", path: "/etc/passwd" });
  expect(parseEnd("./web:file")).toEqual({ path: "./web:file" });
  expect(parseEnd("/a:b")).toEqual({ path: "/a:b" });
  expect(parseEnd("-")).toEqual({ path: "-" });
});

test("where things go follows docker's rules", () => {
  const place = (to: string, target: "missing" | "file" | "directory", isDirectory: boolean, from: string) =>
    placeFor(to, target, "directory", isDirectory, from);
  expect(place("/d", "directory", false, "a/f")).toEqual({ into: "/d", as: "f" });
  expect(place("/d", "directory", true, "a/s")).toEqual({ into: "/d", as: "s" });
  expect(place("/d", "directory", true, "a/s/.")).toEqual({ into: "/d", as: "" });
  expect(place("/new", "missing", true, "a/s")).toEqual({ into: "/", as: "new" });
  expect(place("/d/new", "missing", false, "f")).toEqual({ into: "/d", as: "new" });
  expect(place("/d/old", "file", false, "f")).toEqual({ into: "/d", as: "old" });
  expect(() => place("/d/old", "file", true, "s")).toThrow("is no directory");
  expect(() => place("/d/new/", "missing", false, "f")).toThrow("make it first");
  expect(() => placeFor("/no/such", "missing", "missing", false, "f")).toThrow("make it first");
});
