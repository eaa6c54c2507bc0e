import { describe, expect, test } from "bun:test";
import { io as io1 } from "../../../../proto/gen/cgroups1.js";
import { io as io2 } from "../../../../proto/gen/cgroups2.js";
import { CallMetrics } from "../../../../supervisor/metrics/calls.ts";
import { cgroup1Samples } from "../../../../supervisor/metrics/cgroup1.ts";
import { cgroup2Samples } from "../../../../supervisor/metrics/cgroup2.ts";
import { Collections } from "../../../../supervisor/metrics/collections.ts";
import { containerFamilies, type MeteredTask } from "../../../../supervisor/metrics/containers.ts";
import { scrape } from "../../../../supervisor/metrics/scrape.ts";
import { exposition } from "../../../../supervisor/metrics/text.ts";
import names from "../../../fixtures/containerd-metrics.json" with { type: "json" };

const v1 = {
  pids: { current: 1, limit: 7 },
  cpu: { usage: { total: 5, kernel: 2, user: 3, perCpu: [1, 4] }, throttling: { periods: 1 } },
  memory: { cache: 12, totalPgFault: 3, usage: { limit: 2 ** 62, usage: 9 }, swap: {}, kernel: {}, kernelTcp: {} },
};

function task(id: string, over: Partial<MeteredTask>): MeteredTask {
  return {
    namespace: "default",
    id,
    runtime: "io.containerd.runc.v2",
    shimPid: async () => undefined,
    stats: async () => undefined,
    ...over,
  };
}

const v1Task = task("c1", {
  stats: async () => ({
    type_url: "io.containerd.cgroups.v1.Metrics",
    value: io1.containerd.cgroups.v1.Metrics.encode(v1).finish(),
  }),
});

describe("the text", () => {
  test("sorts families and labels, and escapes values", () => {
    const text = exposition([
      { name: "b", type: "gauge", help: "two\nlines", samples: [{ labels: { z: 'a"b\\', a: "1" }, value: 0.5 }] },
      { name: "a", type: "counter", help: "none", samples: [{ labels: {}, value: Number.POSITIVE_INFINITY }] },
      { name: "c", type: "counter", help: "empty", samples: [] },
    ]);
    expect(text).toBe(
      '# HELP a none\n# TYPE a counter\na +Inf\n# HELP b two\\nlines\n# TYPE b gauge\nb{a="1",z="a\\"b\\\\"} 0.5\n',
    );
  });
});

describe("containers", () => {
  test("on cgroup v1 have containerd's families, all of them and no other", () => {
    const found = new Set(cgroup1Samples(v1).map(({ name }) => name));
    expect([...found].sort()).toEqual(names.container.toSorted());
  });

  test("on cgroup v1 with block devices and huge pages", () => {
    const found = cgroup1Samples({
      blkio: { ioServicedRecursive: [{ op: "Read", device: "/dev/vda", major: 254, minor: 0, value: 3 }] },
      hugetlb: [{ pagesize: "2MB", usage: 1, max: 2, failcnt: 3 }],
      memoryOomControl: { oomKill: 2 },
    });
    expect(found.map(({ name, labels, value }) => [name, labels, value])).toEqual([
      ["container_memory_oom_total", {}, 2],
      ["container_hugetlb_usage_bytes", { page: "2MB" }, 1],
      ["container_hugetlb_max_bytes", { page: "2MB" }, 2],
      ["container_hugetlb_failcnt_total", { page: "2MB" }, 3],
      ["container_blkio_io_serviced_recursive_total", { op: "Read", device: "/dev/vda", major: "254", minor: "0" }, 3],
    ]);
  });

  test("on cgroup v2 have containerd's names", () => {
    const found = cgroup2Samples({
      pids: { current: 2 },
      cpu: { usageUsec: 11 },
      memory: { usage: 1, usageLimit: 2, slabUnreclaimable: 3, thpFaultAlloc: 4 },
      memoryEvents: { oom: 5 },
      io: { usage: [{ major: 8, minor: 1, rbytes: 6 }] },
    });
    const values = Object.fromEntries(found.map(({ name, value }) => [name, value]));
    expect(values).toMatchObject({
      container_pids_current: 2,
      container_cpu_usage_usec_microseconds: 11,
      container_memory_usage_bytes: 1,
      container_memory_usage_limit_bytes: 2,
      container_memory_slab_unreclaimable_bytes: 3,
      container_memory_thp_fault_alloc_bytes: 4,
      container_memory_oom_total: 5,
      container_io_rbytes_bytes: 6,
    });
  });

  test("one that does not answer does not take the others away", async () => {
    const v2 = io2.containerd.cgroups.v2.Metrics.encode({ pids: { current: 4 } }).finish();
    const { families, failed } = await containerFamilies([
      v1Task,
      task("c2", { stats: () => Promise.reject(new Error("gone")) }),
      task("c3", {
        stats: async () => ({ type_url: "types.containerd.io/io.containerd.cgroups.v2.Metrics", value: v2 }),
      }),
      task("c4", { stats: async () => ({ type_url: "some.other.Metrics", value: new Uint8Array([255]) }) }),
    ]);
    expect(failed).toBe(1);
    const pids = families.find(({ name }) => name === "container_pids_current");
    const common = { namespace: "default", runtime: "io.containerd.runc.v2" };
    expect(pids?.samples).toEqual([
      { labels: { ...common, container_id: "c1" }, value: 1 },
      { labels: { ...common, container_id: "c3" }, value: 4 },
    ]);
  });
});

describe("calls", () => {
  test("are counted by containerd's labels, with zeros from the start", () => {
    const calls = new CallMetrics();
    const get = calls.method("s.Images", "Get", false, false);
    calls.method("s.Content", "Write", true, true);
    for (const code of [0, 5, 99]) {
      get.started();
      get.received();
      get.ended(code, 12);
    }
    get.started();
    get.sent();
    const text = exposition(calls.families());
    const labels = 'grpc_method="Get",grpc_service="s.Images",grpc_type="unary"';
    expect(text).toContain(`grpc_server_started_total{${labels}} 4\n`);
    expect(text).toContain(`grpc_server_handled_total{grpc_code="NotFound",${labels}} 1\n`);
    expect(text).toContain(`grpc_server_handled_total{grpc_code="Unknown",${labels}} 1\n`);
    expect(text).toContain(`grpc_server_handled_total{grpc_code="DataLoss",${labels}} 0\n`);
    expect(text).toContain(`grpc_server_handling_seconds_bucket{${labels},le="0.01"} 0\n`);
    expect(text).toContain(`grpc_server_handling_seconds_bucket{${labels},le="0.025"} 3\n`);
    expect(text).toContain(`grpc_server_handling_seconds_count{${labels}} 3\n`);
    expect(text).toContain('grpc_method="Write",grpc_service="s.Content",grpc_type="bidi_stream"} 0\n');
    expect(calls.active).toBe(1);
  });
});

test("a scrape has containerd's families", async () => {
  const collections = new Collections();
  collections.ended(3, false);
  const calls = new CallMetrics();
  const version = calls.method("containerd.services.version.v1.Version", "Version", false, false);
  version.started();
  version.ended(0, 1);
  const text = await scrape({
    version: "1",
    revision: "r",
    root: "/",
    calls,
    collections,
    tasks: async () => [
      v1Task,
      task("self", { shimPid: async () => process.pid }),
      task("gone", { shimPid: async () => 2 ** 22 - 1 }),
    ],
    events: () => ({ subscribers: 1, queued: 2, published: 3 }),
    log: () => ({ lines: { info: 4 }, dropped: 0 }),
  });
  for (const name of [...names.container, ...names.daemon, ...names["daemon 2.1"]]) {
    expect(text).toContain(`# TYPE ${name} `);
  }
  expect(text).toMatch(/^berth_shim_resident_memory_bytes\{container_id="self",namespace="default"\} [1-9]\d{6,}$/m);
  expect(text).not.toContain('container_id="gone"');
  expect(text).toContain('containerd_build_info_total{revision="r",version="1"} 1\n');
  expect(text).toMatch(/^process_start_time_seconds 1\d{9}/m);
});
