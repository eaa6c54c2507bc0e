import { expect, test } from "bun:test";
import {
  applyPrefix,
  familiarName,
  normalizeDockerName,
  ociReferenceName,
  parseReference,
  parseRemote,
} from "../../../../supervisor/image/reference.ts";

const hex = "a".repeat(64);

test("names are split as containerd does", () => {
  for (const [name, locator, object] of [
    ["docker.io/library/alpine:3", "docker.io/library/alpine", "3"],
    ["localhost:5000/a/b@sha256:x", "localhost:5000/a/b", "@sha256:x"],
    ["host/a:tag@sha256:y", "host/a", "tag@sha256:y"],
    ["alpine", "alpine", ""],
    ["[::1]:5000/a:1", "[::1]:5000/a", "1"],
  ] as const) {
    expect(parseReference(name)).toEqual({ locator, object });
  }
  for (const name of ["", "/a", "http://a/b", "a b/c", "a/../b:1", "a:b/c", "a/b?c", "a/b#c", "a/%2e%2e/b"]) {
    expect(() => parseReference(name), name).toThrow();
  }
});

test("what a registry is asked for cannot leave its place in a URL", () => {
  expect(parseRemote(`localhost:5000/a/b:1@sha256:${hex}`)).toMatchObject({
    host: "localhost:5000",
    repository: "a/b",
    tag: "1",
    digest: `sha256:${hex}`,
  });
  for (const name of [
    "host/a:tag/../x",
    "host/a:-x",
    `host/a:${"t".repeat(129)}`,
    "host/a@sha256:abc",
    `host/a@sha256:${hex.toUpperCase()}`,
    "host/.hidden:1",
    "../a:1",
    "..:80/a:1",
    "-host/a:1",
    "user@host/a\n:1",
    "host/a\\b:1",
    `host/${"a".repeat(300)}:1`,
    "host:1",
  ]) {
    expect(() => parseRemote(name), name).toThrow();
  }
});

test("names for Docker are made full and short", () => {
  for (const [name, full, short] of [
    ["alpine", "docker.io/library/alpine:latest", "alpine:latest"],
    ["alpine:3", "docker.io/library/alpine:3", "alpine:3"],
    ["me/app", "docker.io/me/app:latest", "me/app:latest"],
    ["index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"],
    ["localhost/app", "localhost/app:latest", "localhost/app:latest"],
    ["host.example/a/b:1", "host.example/a/b:1", "host.example/a/b:1"],
    [`alpine:1@sha256:${hex}`, `docker.io/library/alpine@sha256:${hex}`, `alpine@sha256:${hex}`],
    ["Host/app", "Host/app:latest", "Host/app:latest"],
  ] as const) {
    expect(normalizeDockerName(name)).toBe(full);
    expect(familiarName(full)).toBe(short);
  }
  for (const name of [
    "",
    "Upper",
    "a//b",
    "a/:x",
    hex,
    "a:b:c",
    `a/${"b/".repeat(200)}c`,
    `a${"-".repeat(5000)}`,
    "a/b@sha256:ab",
  ]) {
    expect(() => normalizeDockerName(name), name).toThrow();
  }
});

test("a name that would take long to refuse is refused at once", () => {
  const begun = performance.now();
  expect(() => normalizeDockerName(`x.y/${"a-".repeat(2000)}!`)).toThrow();
  expect(performance.now() - begun).toBeLessThan(200);
});

test("the reference name of OCI is the tag", () => {
  expect(ociReferenceName("docker.io/library/alpine:3")).toBe("3");
  expect(ociReferenceName(`host/a@sha256:${hex}`)).toBe(`@sha256:${hex}`);
  expect(ociReferenceName("a b")).toBe("a b");
  expect(ociReferenceName("foo:latest")).toBe("foo:latest");
});

test("prefixes are put before tags, and choose among names", () => {
  expect(applyPrefix("foo/bar", "latest", true)).toBe("foo/bar:latest");
  expect(applyPrefix("foo/bar", "foo/bar:1", true)).toBe("foo/bar:1");
  expect(applyPrefix("foo/bar", "foo/bar/baz:1", true)).toBe("foo/bar/baz:1");
  expect(applyPrefix("foo/bar", "foo/barn:1", true)).toBe("");
  expect(applyPrefix("foo/bar", "other/x:1", true)).toBe("");
  expect(applyPrefix("foo/bar", "other/x:1", false)).toBe("other/x:1");
  expect(applyPrefix("", "latest", false)).toBe("");
});
