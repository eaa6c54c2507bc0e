import { describe, expect, test } from "bun:test";
import { encodeSpec } from "../../../../supervisor/container/create.ts";
import type { HostFacts } from "../../../../supervisor/container/facts.ts";
import type { OciSpec } from "../../../../supervisor/container/oci.ts";
import type { RunOptions } from "../../../../supervisor/container/options.ts";
import { argsOf, buildSpec, type SpecInput } from "../../../../supervisor/container/spec.ts";

const facts: HostFacts = { isCgroup2: false, hasSwapLimit: true, capabilities: (1n << 64n) - 1n, machine: "x64" };
const image = { entrypoint: [], command: ["sh"], env: ["PATH=/bin", "LANG=C"], workdir: "" };
const network = {
  mounts: [{ destination: "/etc/hosts", type: "bind", source: "/n/hosts", options: ["rbind", "rw"] }],
  hooks: { createRuntime: [{ path: "/b", args: [], env: [], timeout: 1 }] },
  namespaces: [{ type: "network" as const }],
  annotations: { "berth/network": "{}" },
};

function spec(options: Partial<RunOptions> = {}, more: Partial<SpecInput> = {}): OciSpec {
  return buildSpec({
    namespace: "default",
    id: "web",
    options: { image: "busybox", ...options },
    image,
    user: { uid: 0, gid: 0, additionalGids: [0] },
    binds: [],
    devices: [],
    network,
    facts,
    ...more,
  });
}

const mountAt = ({ mounts }: OciSpec, destination: string) => mounts.find((mount) => mount.destination === destination);

describe("what is run", () => {
  const defaults = { entrypoint: ["/entry"], command: ["serve"] };
  test.each([
    ["the image's entrypoint and command", {}, ["/entry", "serve"]],
    ["the image's entrypoint with a command", { command: ["stop"] }, ["/entry", "stop"]],
    ["an entrypoint takes the image's command away", { entrypoint: ["/other"] }, ["/other"]],
    ["an empty entrypoint leaves the command alone", { entrypoint: [], command: ["ls"] }, ["ls"]],
  ] as [string, Partial<RunOptions>, string[]][])("%s", (_, options, args) => {
    expect(argsOf({ image: "i", ...options }, defaults)).toEqual(args);
  });

  test("an image without a command says so", () => {
    expect(() => argsOf({ image: "empty" }, { entrypoint: [], command: [] })).toThrow("empty names no command");
  });
});

describe("environment", () => {
  test("is the image's, then what is given; a name alone takes one away", () => {
    const { env } = spec({ env: ["LANG=de", "A=b=c", "PATH"] }).process;
    expect(env).toEqual(["HOSTNAME=web", "LANG=de", "A=b=c"]);
  });

  test("has a PATH and, with a terminal, a TERM", () => {
    const { env } = spec({ tty: true }, { image: { ...image, env: [] } }).process;
    expect(env).toContain("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    expect(env).toContain("TERM=xterm");
  });

  test("refuses what is no variable", () => {
    expect(() => spec({ env: ["=x"] })).toThrow("is no variable");
    expect(() => spec({ env: ["A=\0"] })).toThrow("is no variable");
  });
});

describe("rights", () => {
  test("are docker's", () => {
    const { process, linux } = spec();
    expect(process.capabilities.bounding).toHaveLength(14);
    expect(process.capabilities.bounding).not.toContain("CAP_SYS_ADMIN");
    expect(process.noNewPrivileges).toBeUndefined();
    expect(linux.maskedPaths).toContain("/proc/kcore");
    expect(linux.readonlyPaths).toContain("/proc/sys");
    expect(linux.resources.devices[0]).toEqual({ allow: false, access: "rwm" });
    expect(mountAt(spec(), "/sys")?.options).toContain("ro");
    expect(mountAt(spec(), "/sys/fs/cgroup")?.options).toContain("ro");
  });

  test("a privileged container has all of them, and no filter", () => {
    const made = spec({ privileged: true });
    expect(made.process.capabilities.bounding).toContain("CAP_SYS_ADMIN");
    expect(made.linux.seccomp).toBeUndefined();
    expect(made.linux.maskedPaths).toEqual([]);
    expect(made.linux.readonlyPaths).toEqual([]);
    expect(made.linux.resources.devices).toEqual([{ allow: true, access: "rwm" }]);
    expect(mountAt(made, "/sys")?.options).not.toContain("ro");
  });

  test("capabilities that this machine does not have are not asked for", () => {
    const few = spec({ privileged: true }, { facts: { ...facts, capabilities: 0b101n } });
    expect(few.process.capabilities.bounding).toEqual(["CAP_CHOWN", "CAP_DAC_READ_SEARCH"]);
  });

  test("security options", () => {
    expect(spec({ securityOpt: ["no-new-privileges"] }).process.noNewPrivileges).toBe(true);
    expect(spec({ securityOpt: ["no-new-privileges:true"] }).process.noNewPrivileges).toBe(true);
    expect(spec({ securityOpt: ["seccomp=unconfined"] }).linux.seccomp).toBeUndefined();
    expect(spec({ securityOpt: ["apparmor=unconfined"] }).linux.seccomp).toBeDefined();
    expect(() => spec({ securityOpt: ["apparmor=mine"] })).toThrow("--security-opt apparmor=mine");
  });

  test("sysctls of the host are refused", () => {
    expect(spec({ sysctls: { "net.core.somaxconn": "1024" } }).linux.sysctl).toEqual({ "net.core.somaxconn": "1024" });
    expect(() => spec({ sysctls: { "kernel.panic": "1" } })).toThrow("sysctl -w");
    const host = { ...network, namespaces: [] };
    expect(() => spec({ sysctls: { "net.core.somaxconn": "1" } }, { network: host })).toThrow("host's network");
  });
});

describe("namespaces", () => {
  const types = (made: OciSpec): string[] => made.linux.namespaces.map(({ type }) => type).sort();

  test("a private cgroup namespace only where cgroup v2 is", () => {
    expect(types(spec())).toEqual(["ipc", "mount", "network", "pid", "uts"]);
    expect(types(spec({}, { facts: { ...facts, isCgroup2: true } }))).toContain("cgroup");
    expect(types(spec({ cgroupns: "private" }))).toContain("cgroup");
  });

  test("those of the host", () => {
    const made = spec({ pid: "host", ipc: "host", uts: "host" });
    expect(types(made)).toEqual(["mount", "network"]);
    expect(made.hostname).toBeUndefined();
    expect(mountAt(made, "/dev/shm")?.source).toBe("/dev/shm");
  });
});

describe("mounts", () => {
  const bind = (destination: string, options: string[] = ["rbind", "rprivate", "rw"]) => {
    return { destination, type: "bind", source: "/s", options };
  };

  test("what lies below another comes after it, and all after the kernel's", () => {
    const destinations = spec({}, { binds: [bind("/a/b/c"), bind("/a")] }).mounts.map((mount) => mount.destination);
    expect(destinations.slice(-3)).toEqual(["/a", "/etc/hosts", "/a/b/c"]);
    expect(destinations[0]).toBe("/proc");
  });

  test("the user's own win over ours", () => {
    const made = spec({}, { binds: [bind("/etc/hosts"), bind("/dev/shm")] });
    expect(made.mounts.filter(({ destination }) => destination === "/etc/hosts")).toEqual([bind("/etc/hosts")]);
    expect(made.mounts.filter(({ destination }) => destination === "/dev/shm")).toEqual([bind("/dev/shm")]);
  });

  test("two at one place are refused", () => {
    const mounts = [{ type: "tmpfs", target: "/a" }] as const;
    expect(() => spec({ mounts }, { binds: [bind("/a")] })).toThrow("two mounts at /a");
  });

  test("a tmpfs is not executable unless it is asked for", () => {
    const mounts = [
      { type: "tmpfs", target: "/t", size: 1024, mode: 0o1777 },
      { type: "tmpfs", target: "/x", options: ["exec"] },
    ] as const;
    expect(mountAt(spec({ mounts }), "/t")?.options).toEqual(["nosuid", "nodev", "noexec", "size=1024", "mode=1777"]);
    expect(mountAt(spec({ mounts }), "/x")?.options).toEqual(["nosuid", "nodev", "exec"]);
  });

  test("a shared bind makes the root shared", () => {
    expect(spec().linux.rootfsPropagation).toBeUndefined();
    expect(spec({}, { binds: [bind("/a", ["rbind", "rshared"])] }).linux.rootfsPropagation).toBe("shared");
    expect(spec({}, { binds: [bind("/a", ["rbind", "rslave"])] }).linux.rootfsPropagation).toBe("rslave");
  });
});

describe("limits", () => {
  test("memory brings as much swap, where it can be limited", () => {
    expect(spec({ memory: 64 << 20 }).linux.resources.memory).toEqual({ limit: 64 << 20, swap: 128 << 20 });
    const without = { ...facts, hasSwapLimit: false };
    expect(spec({ memory: 64 << 20 }, { facts: without }).linux.resources.memory).toEqual({ limit: 64 << 20 });
  });

  test("a swap limit that has no effect is told", () => {
    const told: string[] = [];
    const warn = (text: string) => told.push(text);
    spec({ memory: 64 << 20, memorySwap: 64 << 20 }, { facts: { ...facts, hasSwapLimit: false }, warn });
    expect(told.join()).toContain("swapaccount=1");
  });

  test("CPUs are a quota", () => {
    expect(spec({ cpus: 1.5 }).linux.resources.cpu).toEqual({ quota: 150_000, period: 100_000 });
    expect(spec({ cpuShares: 512, cpusetCpus: "0-1,3" }).linux.resources.cpu).toEqual({ shares: 512, cpus: "0-1,3" });
    expect(spec({ pidsLimit: -1 }).linux.resources.pids).toEqual({ limit: -1 });
    expect(spec().linux.resources.cpu).toBeUndefined();
  });

  test.each([
    [{ memory: 1024 }, "6m at least"],
    [{ memorySwap: 1 << 30 }, "give --memory, too"],
    [{ memory: 1 << 30, memorySwap: 1 << 20 }, "below --memory"],
    [{ cpus: 1, cpuQuota: 5000 }, "either"],
    [{ cpus: 0.001 }, "too little CPU time"],
    [{ cpusetCpus: "0;rm" }, "no list of CPUs"],
  ] as [Partial<RunOptions>, string][])("%j is refused", (options, words) => {
    expect(() => spec(options)).toThrow(words);
  });

  test("no limit is written as the kernel's largest number", () => {
    const made = spec({ ulimits: [{ name: "memlock", soft: 1024, hard: -1 }] });
    expect(new TextDecoder().decode(encodeSpec(made))).toContain(
      `{"type":"RLIMIT_MEMLOCK","soft":1024,"hard":18446744073709551615}`,
    );
  });
});

test("the cgroup is the namespace's and the container's, under a parent when there is one", () => {
  expect(spec().linux.cgroupsPath).toBe("/default/web");
  expect(spec({ cgroupParent: "/edge/" }).linux.cgroupsPath).toBe("/edge/default/web");
});

test("hooks and annotations of the network are in the spec", () => {
  expect(spec().hooks?.createRuntime).toHaveLength(1);
  expect(spec({ annotations: { a: "b" } }).annotations).toEqual({ a: "b", "berth/network": "{}" });
});

test("the host name is the id, cut to what the kernel takes, or what is given", () => {
  expect(spec().hostname).toBe("web");
  expect(spec({ hostname: "db.local" }).hostname).toBe("db.local");
  expect(spec({}, { id: "a".repeat(70) }).hostname).toHaveLength(63);
  expect(() => spec({ hostname: "a b" })).toThrow("no host name");
});
