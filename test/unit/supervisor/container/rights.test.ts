import { describe, expect, test } from "bun:test";
import { capabilitiesFor, defaultCapabilities } from "../../../../supervisor/container/capabilities.ts";
import { defaultSeccomp } from "../../../../supervisor/container/seccomp.ts";
import { signalNumber } from "../../../../supervisor/container/signals.ts";

describe("capabilities", () => {
  test.each([
    ["the default", {}, [...defaultCapabilities].length],
    ["none", { drop: ["ALL"] }, 0],
    ["one alone", { drop: ["all"], add: ["net_admin"] }, 1],
    ["all", { add: ["ALL"] }, 41],
    ["all but one", { add: ["ALL"], drop: ["CAP_SYS_ADMIN"] }, 40],
    ["both added and dropped", { add: ["NET_ADMIN"], drop: ["NET_ADMIN"] }, 14],
  ] as [string, Parameters<typeof capabilitiesFor>[0], number][])("%s", (_, request, count) => {
    expect(capabilitiesFor(request)).toHaveLength(count);
  });

  test("a name that is none is refused with the one that was meant", () => {
    expect(() => capabilitiesFor({ add: ["NET_ADMN"] })).toThrow("did you mean CAP_NET_ADMIN?");
  });
});

describe("the default seccomp profile", () => {
  const allowed = (capabilities: readonly string[], name: string): boolean =>
    defaultSeccomp(capabilities, "x64").syscalls.some(
      ({ names, action, args }) => action === "SCMP_ACT_ALLOW" && args === undefined && names.includes(name),
    );

  test("lets through what programs need, and not what changes the machine", () => {
    for (const name of ["read", "execve", "futex", "clock_gettime", "getrandom"]) {
      expect(allowed(defaultCapabilities, name)).toBe(true);
    }
    for (const name of [
      "mount",
      "bpf",
      "keyctl",
      "kexec_load",
      "reboot",
      "unshare",
      "setns",
      "io_uring_setup",
      "ptrace_",
    ]) {
      expect(allowed(defaultCapabilities, name)).toBe(false);
    }
  });

  test("a capability opens its calls", () => {
    expect(allowed(["CAP_SYS_ADMIN"], "mount")).toBe(true);
    expect(allowed(["CAP_SYS_TIME"], "clock_settime")).toBe(true);
    expect(allowed(["CAP_SYS_TIME"], "mount")).toBe(false);
  });

  test("threads may be made, namespaces not", () => {
    const { syscalls } = defaultSeccomp([], "x64");
    const clone = syscalls.find(({ names }) => names.includes("clone"));
    expect(clone?.args).toEqual([{ index: 0, value: 0x7e020000, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }]);
    expect(syscalls.find(({ names }) => names.includes("clone3"))).toMatchObject({ errnoRet: 38 });
  });

  test("every machine has its own architectures; one that is not known has the kernel's", () => {
    expect(defaultSeccomp([], "arm64").architectures).toEqual(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
    expect(defaultSeccomp([], "riscv64").architectures).toBeUndefined();
  });
});

describe("names of signals", () => {
  test.each([
    ["TERM", 15],
    ["sigkill", 9],
    ["9", 9],
    ["RTMIN+3", 37],
    ["SIGRTMAX-1", 63],
  ] as [string, number][])("%s", (text, number) => {
    expect(signalNumber(text)).toBe(number);
  });

  test.each(["0", "65", "SIGTERN", "RTMIN+99", "", "999"])("%j is none", (text) => {
    expect(() => signalNumber(text)).toThrow("there is no signal");
  });
});
