/** hosts and resolv.conf of containers. */

import { describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareFiles, removeFiles, restoreFiles, writeHosts } from "../../../../supervisor/network/files.ts";
import { hostsText } from "../../../../supervisor/network/hosts.ts";
import { networkKey } from "../../../../supervisor/network/request.ts";
import { parseResolver, resolverFor, resolverText } from "../../../../supervisor/network/resolver.ts";

const request = {
  networks: [{ name: "berth" }],
  ports: [],
  hostname: "web",
  extraHosts: [{ name: "registry", ip: "10.9.9.9" }],
};

describe("hosts", () => {
  test("keeps what the container wrote around our block", () => {
    const first = hostsText([{ ip: "10.1.0.2", names: ["web", "web", "www"] }]);
    expect(first).toContain("10.1.0.2\tweb www\n");
    expect(first).toStartWith("127.0.0.1\tlocalhost\n");
    const second = hostsText([{ ip: "10.1.0.3", names: ["db"] }], `9.9.9.9 mine\n${first}8.8.8.8 theirs\n`);
    expect(second).toStartWith("9.9.9.9 mine\n");
    expect(second).toEndWith("# berth: end\n8.8.8.8 theirs\n");
    expect(second).not.toContain("10.1.0.2");
  });

  test("is written in place, shorter or longer, and only when it changes", () => {
    const root = mkdtempSync(join(tmpdir(), "berth-network-"));
    try {
      prepareFiles({ namespace: "default", id: "web", mode: "cni", request }, { root });
      const dir = join(root, "containers/default/web");
      const path = join(dir, "hosts");
      expect(readFileSync(path, "utf8")).toContain("10.9.9.9\tregistry\n");
      expect(readFileSync(join(dir, "hostname"), "utf8")).toBe("web\n");
      const { ino } = statSync(path);
      const many = Array.from({ length: 100 }, (_, n) => ({ ip: `10.1.0.${n}`, names: [`c${n}`] }));
      writeHosts(dir, many);
      appendFileSync(path, "1.1.1.1 own\n");
      writeHosts(dir, many.slice(0, 1));
      const text = readFileSync(path, "utf8");
      expect(text).toEndWith("10.1.0.0\tc0\n# berth: end\n1.1.1.1 own\n");
      expect(statSync(path).ino).toBe(ino);
      const { mtimeNs } = statSync(path, { bigint: true });
      writeHosts(dir, many.slice(0, 1));
      expect(statSync(path, { bigint: true }).mtimeNs).toBe(mtimeNs);
      removeFiles({ root }, "default", "web");
      expect(() => statSync(dir)).toThrow();
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });
});

describe("resolv.conf", () => {
  const stub = {
    host: "nameserver 127.0.0.53\nsearch lan\noptions edns0 trust-ad\n",
    upstream: "nameserver 192.0.2.53\n",
  };

  test("has what is behind a stub on the host's loopback", () => {
    const resolver = resolverFor(undefined, { ...stub, hasHostNetwork: false });
    expect(resolverText(resolver)).toBe("nameserver 192.0.2.53\nsearch lan\noptions edns0 trust-ad\n");
  });

  test("keeps the stub in the host's network", () => {
    expect(resolverFor(undefined, { ...stub, hasHostNetwork: true }).servers).toEqual(["127.0.0.53"]);
  });

  test("has what is asked for, and no search for a dot", () => {
    const asked = { servers: ["9.9.9.9"], search: ["."], options: [] };
    expect(resolverText(resolverFor(asked, { ...stub, hasHostNetwork: false }))).toBe(
      "nameserver 9.9.9.9\noptions edns0 trust-ad\n",
    );
  });

  test("says so when there is no resolver", () => {
    const none = { host: "nameserver ::1\nnameserver fe80::1%eth0\n", upstream: "", hasHostNetwork: false };
    expect(resolverText(resolverFor(undefined, none))).toContain("--dns");
  });

  test("is read as resolv.conf(5) has it", () => {
    expect(parseResolver("# x\nnameserver 1.1.1.1 ; one\nnameserver nonsense\ndomain a\nsearch b c\n")).toEqual({
      servers: ["1.1.1.1"],
      search: ["b", "c"],
      options: [],
    });
  });
});

describe("files of a container that is started", () => {
  const spec = (dir: string, id: string) =>
    new TextEncoder().encode(
      JSON.stringify({
        mounts: [{ destination: "/etc/hosts", source: join(dir, id, "hosts") }],
        annotations: { [networkKey]: JSON.stringify(request) },
        hooks: { createRuntime: [{ path: "/bin/berth" }] },
        linux: { namespaces: [{ type: "network" }] },
      }),
    );

  test("are made where one is missing or empty, and left alone otherwise", () => {
    const root = mkdtempSync(join(tmpdir(), "berth-network-"));
    try {
      const dir = join(root, "containers/default");
      const path = (name: string) => join(dir, "web", name);
      const restore = () => restoreFiles({ root }, "default", "web", spec(dir, "web"));
      restore();
      expect(readFileSync(path("hosts"), "utf8")).toContain("10.9.9.9\tregistry\n");
      expect(readFileSync(path("hostname"), "utf8")).toBe("web\n");
      for (const name of ["hosts", "hostname", "resolv.conf"]) {
        const before = readFileSync(path(name), "utf8");
        rmSync(path(name));
        restore();
        expect(readFileSync(path(name), "utf8")).toBe(before);
        // As a power cut leaves a file whose content was not on the disk yet.
        writeFileSync(path(name), "");
        restore();
        expect(readFileSync(path(name), "utf8")).toBe(before);
      }
      writeFileSync(path("hosts"), "1.1.1.1 own\n");
      restore();
      expect(readFileSync(path("hosts"), "utf8")).toBe("1.1.1.1 own\n");
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  test("are not made for a spec that mounts none, or another's, or is no JSON", () => {
    const root = mkdtempSync(join(tmpdir(), "berth-network-"));
    try {
      const dir = join(root, "containers/default");
      for (const bytes of [
        undefined,
        new TextEncoder().encode("{"),
        new TextEncoder().encode("{}"),
        spec(dir, "other"),
      ]) {
        restoreFiles({ root }, "default", "web", bytes);
      }
      expect(existsSync(dir)).toBe(false);
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});
