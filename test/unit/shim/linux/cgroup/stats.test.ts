import { afterEach, describe, expect, test } from "bun:test";
import { type Cgroup, CgroupGoneError, findCgroups, readStats } from "../../../../../shim/linux/cgroup/index.ts";
import { outcome } from "../../../../lib/outcome.ts";
import { decodeMetrics, plain } from "./message.ts";
import { makeTree, pid, processFiles, type Tree, v1Mounts, v2Mount } from "./tree.ts";

let tree: Tree | undefined;
afterEach(() => {
  tree?.remove();
  tree = undefined;
});

const hugepages = {
  "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0\n",
  "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "0\n",
};

async function read(cgroup: Cgroup): Promise<Record<string, unknown>> {
  const any = await readStats(cgroup);
  expect(any.type_url).toBe(`io.containerd.cgroups.v${cgroup.version}.Metrics`);
  return decodeMetrics(any);
}

/** `key 1`, `key 2`, ... so that no two fields hold the same. */
function numbered(keys: readonly string[], from: number): string {
  return keys.map((key, index) => `${key} ${from + index}\n`).join("");
}

const v1Keys =
  "cache rss rss_huge mapped_file dirty writeback pgpgin pgpgout pgfault pgmajfault inactive_anon active_anon inactive_file active_file unevictable";
const v1MemoryKeys = [
  ...v1Keys.split(" "),
  "hierarchical_memory_limit",
  "hierarchical_memsw_limit",
  ...v1Keys.split(" ").map((key) => `total_${key}`),
];
const v1MemoryFields =
  "cache rss rssHuge mappedFile dirty writeback pgPgIn pgPgOut pgFault pgMajFault inactiveAnon activeAnon inactiveFile activeFile unevictable hierarchicalMemoryLimit hierarchicalSwapLimit totalCache totalRss totalRssHuge totalMappedFile totalDirty totalWriteback totalPgPgIn totalPgPgOut totalPgFault totalPgMajFault totalInactiveAnon totalActiveAnon totalInactiveFile totalActiveFile totalUnevictable".split(
    " ",
  );

function v1Tree(): Tree {
  const at = (controller: string, file: string) => `sys/fs/cgroup/${controller}/c/${file}`;
  const files: Record<string, string> = {
    ...processFiles("5:memory:/c\n4:cpu,cpuacct:/c\n3:pids:/c\n2:blkio:/c\n1:hugetlb:/c\n6:rdma:/c\n", v1Mounts),
    ...hugepages,
    "proc/partitions": "major minor  #blocks  name\n\n 254        0  268435456 vda\n 254        0  1 twin\n",
    [at("memory", "memory.stat")]: numbered(v1MemoryKeys, 1000),
    [at("memory", "memory.oom_control")]: "oom_kill_disable 0\nunder_oom 1\noom_kill 3\n",
    [at("cpu,cpuacct", "cpu.stat")]: "nr_periods 1\nnr_throttled 2\nthrottled_time 3\n",
    [at("cpu,cpuacct", "cpuacct.stat")]: "user 7\nsystem 4000000001\n",
    [at("cpu,cpuacct", "cpuacct.usage")]: "18446744073709551615\n",
    [at("cpu,cpuacct", "cpuacct.usage_percpu")]: "5 9007199254740993 \n",
    [at("pids", "pids.current")]: "4\n",
    [at("pids", "pids.max")]: "max\n",
    [at("blkio", "blkio.throttle.io_serviced")]: "254:0 Read 2\n254:0 Total 2\n7:1 Read 9\nTotal 11\n",
    [at("blkio", "blkio.throttle.io_service_bytes")]: "254:0 Read 8192\nTotal 8192\n",
    [at("rdma", "rdma.current")]: "mlx4_0 hca_handle=1 hca_object=2\n",
    [at("rdma", "rdma.max")]: "mlx4_0 hca_handle=max hca_object=20\n",
  };
  for (const [index, module] of ["", "memsw.", "kmem.", "kmem.tcp."].entries()) {
    for (const [offset, file] of ["limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes", "failcnt"].entries()) {
      files[at("memory", `memory.${module}${file}`)] = `${index * 10 + offset}\n`;
    }
  }
  for (const [index, file] of ["usage_in_bytes", "max_usage_in_bytes", "failcnt"].entries()) {
    files[at("hugetlb", `hugetlb.2MB.${file}`)] = `${50 + index}\n`;
  }
  tree = makeTree(files);
  return tree;
}

describe("v1", () => {
  test("T-STS-1: every file fills its fields, exactly", async () => {
    const { root } = v1Tree();
    const entry = (from: number) => ({ limit: from, usage: from + 1, max: from + 2, failcnt: from + 3 });
    const serviced = (op: string, device: string, major: number, minor: number, value: number) => ({
      op,
      device,
      major,
      minor,
      value,
    });
    const expected = {
      hugetlb: [{ usage: 50, max: 51, failcnt: 52, pagesize: "2MB" }],
      pids: { current: 4, limit: 0 },
      cpu: {
        usage: {
          total: 2n ** 64n - 1n,
          kernel: 40_000_000_010_000_000n,
          user: 70_000_000,
          perCpu: [5, 2n ** 53n + 1n],
        },
        throttling: { periods: 1, throttledPeriods: 2, throttledTime: 3 },
      },
      memory: {
        ...Object.fromEntries(v1MemoryFields.map((field, index) => [field, 1000 + index])),
        usage: entry(0),
        swap: entry(10),
        kernel: entry(20),
        kernelTcp: entry(30),
      },
      memoryOomControl: { oomKillDisable: 0, underOom: 1, oomKill: 3 },
      blkio: {
        ioServicedRecursive: [
          serviced("Read", "/dev/vda", 254, 0, 2),
          serviced("Total", "/dev/vda", 254, 0, 2),
          serviced("Read", "", 7, 1, 9),
        ],
        ioServiceBytesRecursive: [serviced("Read", "/dev/vda", 254, 0, 8192)],
      },
      rdma: {
        current: [{ device: "mlx4_0", hcaHandles: 1, hcaObjects: 2 }],
        limit: [{ device: "mlx4_0", hcaHandles: 4294967295, hcaObjects: 20 }],
      },
    };
    expect(await read(findCgroups(pid, { root }))).toEqual(plain(expected) as Record<string, unknown>);
  });

  test("CFQ files come first, and a line may lack an operation", async () => {
    const fixture = v1Tree();
    fixture.write("sys/fs/cgroup/blkio/c/blkio.io_serviced_recursive", "254:0 Write 5\nTotal 5\n");
    fixture.write("sys/fs/cgroup/blkio/c/blkio.time_recursive", "254:0 77\n");
    expect(await read(findCgroups(pid, { root: fixture.root }))).toMatchObject({
      blkio: {
        ioServicedRecursive: [{ op: "Write", value: 5 }],
        ioTimeRecursive: [{ value: 77, device: "/dev/vda" }],
      },
    });
  });

  test("a controller that is off is left out", async () => {
    const fixture = v1Tree();
    const cgroup = findCgroups(pid, { root: fixture.root });
    for (const controller of ["memory", "blkio", "pids", "rdma", "hugetlb"]) {
      fixture.remove(`sys/fs/cgroup/${controller}/c`);
    }
    const metrics = await read(cgroup);
    expect(Object.keys(metrics)).toEqual(["cpu"]);
  });

  test("the whole cgroup gone is CgroupGoneError", async () => {
    const fixture = v1Tree();
    const cgroup = findCgroups(pid, { root: fixture.root });
    fixture.remove("sys/fs/cgroup");
    expect(await outcome(readStats(cgroup))).toThrow(CgroupGoneError);
  });
});

const v2MemoryKeys =
  "anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback anon_thp inactive_anon active_anon inactive_file active_file unevictable slab_reclaimable slab_unreclaimable pgfault pgmajfault workingset_refault workingset_activate workingset_nodereclaim pgrefill pgscan pgsteal pgactivate pgdeactivate pglazyfree pglazyfreed thp_fault_alloc thp_collapse_alloc".split(
    " ",
  );
const camel = (key: string) => key.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

function v2Tree(extra: Record<string, string> = {}): Tree {
  const files: Record<string, string> = {
    "cgroup.controllers": "cpu io memory hugetlb pids rdma\n",
    "pids.current": "3\n",
    "pids.max": "max\n",
    "cpu.stat":
      "usage_usec 1\nuser_usec 2\nsystem_usec 3\nnr_periods 4\nnr_throttled 5\nthrottled_usec 6\nnr_bursts 7\nburst_usec 8\n",
    "cpu.pressure": "some avg10=1.50 avg60=2.25 avg300=3.00 total=44\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
    "memory.pressure":
      "some avg10=0.10 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=2\n",
    "io.pressure": "some avg10=0.20 avg60=0.00 avg300=0.00 total=3\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=4\n",
    "memory.stat": numbered(v2MemoryKeys, 500),
    "memory.current": "4096\n",
    "memory.max": "max\n",
    "memory.peak": "8192\n",
    "memory.swap.current": "1\n",
    "memory.swap.max": "9223372036854771712\n",
    "memory.swap.peak": "2\n",
    "memory.events": "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n",
    "io.stat": "254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:0 \n8:16 rbytes=1\n",
    "rdma.current": "mlx4_0 hca_handle=1 hca_object=2\n",
    "rdma.max": "mlx4_0 hca_handle=max hca_object=max\n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.max": "max\n",
    "hugetlb.2MB.events": "max 9\n",
    ...extra,
  };
  const named = Object.entries(files).map(([name, text]) => [`sys/fs/cgroup/c/${name}`, text]);
  tree = makeTree({ ...processFiles("0::/c\n", [v2Mount]), ...hugepages, ...Object.fromEntries(named) });
  return tree;
}

const max = 2n ** 64n - 1n;

describe("v2", () => {
  test("T-STS-1: every file fills its fields, exactly", async () => {
    const { root } = v2Tree();
    const idle = { avg10: 0, avg60: 0, avg300: 0 };
    const expected = {
      pids: { current: 3, limit: max },
      cpu: {
        usageUsec: 1,
        userUsec: 2,
        systemUsec: 3,
        nrPeriods: 4,
        nrThrottled: 5,
        throttledUsec: 6,
        nrBursts: 7,
        burstUsec: 8,
        psi: { some: { avg10: 1.5, avg60: 2.25, avg300: 3, total: 44 }, full: { ...idle, total: 5 } },
      },
      memory: {
        ...Object.fromEntries(v2MemoryKeys.map((key, index) => [camel(key), 500 + index])),
        usage: 4096,
        usageLimit: max,
        maxUsage: 8192,
        swapUsage: 1,
        swapLimit: 9223372036854771712n,
        swapMaxUsage: 2,
        psi: { some: { ...idle, avg10: 0.1, total: 1 }, full: { ...idle, total: 2 } },
      },
      io: {
        usage: [
          { major: 254, minor: 0, rbytes: 10, wbytes: 20, rios: 1, wios: 2 },
          { major: 7, minor: 0, rbytes: 0, wbytes: 0, rios: 0, wios: 0 },
          { major: 8, minor: 16, rbytes: 1, wbytes: 0, rios: 0, wios: 0 },
        ],
        psi: { some: { ...idle, avg10: 0.2, total: 3 }, full: { ...idle, total: 4 } },
      },
      rdma: {
        current: [{ device: "mlx4_0", hcaHandles: 1, hcaObjects: 2 }],
        limit: [{ device: "mlx4_0", hcaHandles: 4294967295, hcaObjects: 4294967295 }],
      },
      hugetlb: [{ current: 2097152, max, pagesize: "2MB", failcnt: 9 }],
      memoryEvents: { low: 1, high: 2, max: 3, oom: 4, oomKill: 5, oomGroupKill: 6 },
    };
    expect(await read(findCgroups(pid, { root }))).toEqual(plain(expected) as Record<string, unknown>);
  });

  test("workingset counters that the kernel splits are added up", async () => {
    const { root } = v2Tree({ "memory.stat": "workingset_refault_anon 3\nworkingset_refault_file 9007199254740992\n" });
    expect(await read(findCgroups(pid, { root }))).toMatchObject({
      memory: { workingsetRefault: 9007199254740995n },
    });
  });

  test("with no controller on, the messages that readers rely on are there and empty", async () => {
    tree = makeTree({
      ...processFiles("0::/c\n", [v2Mount]),
      "sys/fs/cgroup/c/cpu.stat": "usage_usec 12\n",
    });
    const metrics = await read(findCgroups(pid, { root: tree.root }));
    expect(metrics).toEqual({ cpu: { usageUsec: 12 }, pids: {}, memory: {}, io: {}, rdma: {} });
  });

  test("the cgroup gone is CgroupGoneError", async () => {
    const fixture = v2Tree();
    const cgroup = findCgroups(pid, { root: fixture.root });
    fixture.remove("sys/fs/cgroup/c");
    expect(await outcome(readStats(cgroup))).toThrow("cgroup does not exist");
  });
});
