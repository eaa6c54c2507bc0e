/** Applications out of Compose's schema: every form is understood, and what is wrong has its place. */

import { describe, expect, test } from "bun:test";
import { type Parsed, parseApplication } from "../../../../../supervisor/app/compose/file.ts";
import { ComposeError } from "../../../../../supervisor/app/compose/problem.ts";
import type { Application, Service } from "../../../../../supervisor/app/model.ts";

const D = "$";

interface Given {
  environment?: Record<string, string>;
  files?: Record<string, string>;
  file?: string;
}

function parse(text: string, { environment = {}, files = {}, file = "/etc/berth/apps/web.yaml" }: Given = {}): Parsed {
  return parseApplication(text, {
    file,
    directory: "/etc/berth/apps",
    environment: (name) => environment[name],
    readFile: (path) => files[path],
  });
}

const app = (text: string, given: Given = {}): Application => parse(text, given).application;

/** The options of a service `s` with these keys. */
function service(keys: string, rest = "", given: Given = {}): Service {
  const indented = keys.replace(/^/gm, "    ");
  const found = app(`services:\n  s:\n    image: i\n${indented}\n${rest}`, given).services.find(
    ({ name }) => name === "s",
  );
  if (found === undefined) throw new Error("no service");
  return found;
}

function problems(text: string, given: Given = {}): string[] {
  try {
    parse(text, given);
  } catch (error) {
    if (error instanceof ComposeError) return error.message.split("\n");
    throw error;
  }
  return [];
}

/** Problems of a service `s` with these keys, without the name of the file. */
function wrong(keys: string, rest = "", given: Given = {}): string[] {
  const indented = keys.replace(/^/gm, "    ");
  return problems(`services:\n  s:\n    image: i\n${indented}\n${rest}`, given).map((line) =>
    line.replace("/etc/berth/apps/web.yaml:", ""),
  );
}

describe("what a service says", () => {
  const volumes = "volumes:\n  data:\n  more:\n    name: own\n";
  const networks = "networks:\n  front:\n  back:\n    external: true\n";
  for (const [keys, expected, rest = "", given = {}] of [
    ["command: sh -c 'a b'", { command: ["sh", "-c", "a b"] }],
    ["command: [sh, -c, a b, 1]", { command: ["sh", "-c", "a b", "1"] }],
    ["entrypoint: /e --x", { entrypoint: ["/e", "--x"] }],
    ["entrypoint: []", { entrypoint: [] }],
    ["environment: {A: 1, B: true, C: x, D: 1.0, E: '2'}", { env: ["A=1", "B=true", "C=x", "D=1.0", "E=2"] }],
    [
      "environment:\n  - A=1=2\n  - FROM\n  - MISSING",
      { env: ["A=1=2", "FROM=there"] },
      "",
      { environment: { FROM: "there" } },
    ],
    ["environment: {FROM: , MISSING: }", { env: ["FROM=there"] }, "", { environment: { FROM: "there" } }],
    [
      "env_file: a.env\nenvironment: [B=3]",
      { env: ["A=1", "B=3"] },
      "",
      { files: { "/etc/berth/apps/a.env": "A=1\nB=2" } },
    ],
    [
      "env_file:\n  - a.env\n  - path: /x/b.env\n    required: false\n  - path: ./c.env\n    required: false\n    format: raw",
      { env: ["A=1", "B=2"] },
      "",
      { files: { "/etc/berth/apps/a.env": "A=1", "/x/b.env": "B=2" } },
    ],
    [
      "ports: ['8080:80', '127.0.0.1:53:53/udp']",
      {
        ports: [
          { hostPort: 8080, containerPort: 80, protocol: "tcp" },
          { hostIp: "127.0.0.1", hostPort: 53, containerPort: 53, protocol: "udp" },
        ],
      },
    ],
    ["ports: ['[::1]:1:2']", { ports: [{ hostIp: "::1", hostPort: 1, containerPort: 2, protocol: "tcp" }] }],
    [
      "ports: ['9000-9001:80-81']",
      {
        ports: [
          { hostPort: 9000, containerPort: 80, protocol: "tcp" },
          { hostPort: 9001, containerPort: 81, protocol: "tcp" },
        ],
      },
    ],
    [
      "ports:\n  - target: 80\n    published: 8080\n    host_ip: 127.0.0.1\n    mode: host",
      { ports: [{ hostIp: "127.0.0.1", hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
    ],
    [
      "volumes: [data:/d, 'more:/m:ro', /h:/x:rw, ./rel:/rel]",
      {
        mounts: [
          { type: "volume", source: "data", target: "/d" },
          { type: "volume", source: "more", target: "/m", readOnly: true },
          { type: "bind", source: "/h", target: "/x", createSource: true },
          { type: "bind", source: "/etc/berth/apps/rel", target: "/rel", createSource: true },
        ],
      },
      volumes,
    ],
    [
      "volumes:\n  - type: bind\n    source: ../up\n    target: /u/\n    read_only: true\n    bind: {propagation: rshared}",
      {
        mounts: [
          {
            type: "bind",
            source: "/etc/berth/up",
            target: "/u",
            createSource: false,
            readOnly: true,
            propagation: "rshared",
          },
        ],
      },
    ],
    [
      "volumes: [~/a:/a, /anonymous]",
      {
        mounts: [
          { type: "bind", source: "/root/a", target: "/a", createSource: true },
          { type: "volume", target: "/anonymous" },
        ],
      },
      "",
      { environment: { HOME: "/root" } },
    ],
    [
      "volumes:\n  - {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 01777}}\ntmpfs: /run:size=64k",
      {
        mounts: [
          { type: "tmpfs", target: "/t", size: 1 << 20, mode: 0o1777 },
          { type: "tmpfs", target: "/run", options: ["size=64k"] },
        ],
      },
    ],
    [
      "healthcheck: {test: curl x, interval: 1m30s, timeout: 500ms, retries: 5, start_period: 10, start_interval: 1s}",
      {
        health: {
          test: ["CMD-SHELL", "curl x"],
          interval: 90_000,
          timeout: 500,
          retries: 5,
          start_period: 10_000,
          start_interval: 1000,
          action: "none",
        },
      },
    ],
    [
      "healthcheck: {test: [CMD, a, b], x-berth-action: restart}",
      {
        health: {
          test: ["CMD", "a", "b"],
          interval: 30_000,
          timeout: 30_000,
          retries: 3,
          start_period: 0,
          start_interval: 5000,
          action: "restart",
        },
      },
    ],
    ["healthcheck: {interval: 1s}", { health: { interval: 1000 } }],
    ["healthcheck: {disable: true}", { health: null }],
    ["healthcheck: {test: [NONE]}", { health: null }],
    ["restart: always", { restart: { name: "always" } }],
    ["restart: no", { restart: { name: "no" } }],
    ["restart: 'on-failure:3'", { restart: { name: "on-failure", maximum: 3 } }],
    [
      "deploy: {restart_policy: {condition: on-failure, max_attempts: 2}}",
      { restart: { name: "on-failure", maximum: 2 } },
    ],
    [
      "deploy: {resources: {limits: {cpus: '0.5', memory: 64m, pids: 100}, reservations: {memory: 32M}}}",
      { cpus: 0.5, memory: 64 << 20, pidsLimit: 100, memoryReservation: 32 << 20 },
    ],
    [
      "mem_limit: 1.5gb\ncpus: 2\ncpu_shares: 512\npids_limit: -1",
      { memory: 1.5 * 2 ** 30, cpus: 2, cpuShares: 512, pidsLimit: -1 },
    ],
    [
      "logging: {driver: local, options: {max-size: 10m, max-file: '3'}}",
      { log: { driver: "json", maxSize: 10 << 20, maxFile: 3 } },
    ],
    ["logging: {driver: ring}", { log: { driver: "ring" } }],
    ["logging: {driver: none}", { log: { driver: "none" } }],
    ["labels: [a=b, c]", { labels: { a: "b", c: "" } }],
    ["labels: {a: 1}\ndeploy: {labels: {d: e}}", { labels: { d: "e", a: "1" } }],
    [
      "ulimits: {nofile: {soft: 1, hard: 2}, nproc: 3}",
      {
        ulimits: [
          { name: "nofile", soft: 1, hard: 2 },
          { name: "nproc", soft: 3, hard: 3 },
        ],
      },
    ],
    [
      "devices: ['/dev/a', '/dev/a:/dev/b:r']",
      {
        devices: [
          { source: "/dev/a", target: "/dev/a", permissions: "rwm" },
          { source: "/dev/a", target: "/dev/b", permissions: "r" },
        ],
      },
    ],
    ["sysctls: [net.core.somaxconn=1]", { sysctls: { "net.core.somaxconn": "1" } }],
    ["extra_hosts: ['a:1.2.3.4', 'b=[::1]']", { extraHosts: ["a:1.2.3.4", "b:::1"] }],
    ["extra_hosts: {a: 1.2.3.4}", { extraHosts: ["a:1.2.3.4"] }],
    ["dns: 1.1.1.1", { dns: ["1.1.1.1"] }],
    [
      "user: '1000:1000'\nworking_dir: /w\nhostname: h\ntty: true\nread_only: true\nprivileged: true",
      { user: "1000:1000", workdir: "/w", hostname: "h", tty: true, readOnly: true, privileged: true },
    ],
    [
      "cap_add: [NET_ADMIN]\ncap_drop: [ALL]\nsecurity_opt: [no-new-privileges]\ngroup_add: [5]\noom_score_adj: -10\nshm_size: 64m",
      {
        capAdd: ["NET_ADMIN"],
        capDrop: ["ALL"],
        securityOpt: ["no-new-privileges"],
        groupAdd: ["5"],
        oomScoreAdj: -10,
        shmSize: 64 << 20,
      },
    ],
    [
      "stop_signal: SIGINT\nstop_grace_period: 1m\npull_policy: if_not_present\nplatform: linux/amd64",
      { stopSignal: "SIGINT", stopTimeout: 60_000, pull: "missing", platform: "linux/amd64" },
    ],
    ["network_mode: host", { networkMode: "host" }],
    [
      "secrets: [key]\nconfigs: [{source: conf, target: /etc/c}]",
      {
        mounts: [
          { type: "bind", source: "/etc/berth/apps/key.txt", target: "/run/secrets/key", readOnly: true },
          { type: "bind", source: "/abs/conf", target: "/etc/c", readOnly: true },
        ],
      },
      "secrets: {key: {file: key.txt}}\nconfigs: {conf: {file: /abs/conf}}",
    ],
    ["x-anything: {a: b}\nimage: i", {}],
  ] as [string, object, string?, Given?][]) {
    if (keys.includes("image: i")) continue;
    test(keys.replaceAll("\n", " / "), () => {
      const { image, ...options } = service(keys, rest, given).options;
      expect(image).toBe("i");
      expect(options).toEqual(expected as typeof options);
    });
  }

  test("networks: the default one, some, with addresses, or none", () => {
    expect(service("tty: false").networks).toEqual([{ key: "default", aliases: [] }]);
    expect(service("networks: [front, back]", networks).networks).toEqual([
      { key: "front", aliases: [] },
      { key: "back", aliases: [] },
    ]);
    expect(service("networks: {front: {aliases: [a], ipv4_address: 10.0.0.2}, back: }", networks).networks).toEqual([
      { key: "front", aliases: ["a"], ip: "10.0.0.2" },
      { key: "back", aliases: [] },
    ]);
    expect(service("network_mode: none").networks).toEqual([]);
  });

  test("names, networks and volumes of the application; only those that are used", () => {
    const {
      name,
      networks: found,
      volumes: kept,
    } = app(
      `name: shop\nservices: {s: {image: i, volumes: ['data:/d', 'more:/m', 'ext:/e'], networks: [front, back]}}
networks: {front: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.1}]}, internal: true}, back: {external: true}, unused: }
volumes: {data: , more: {name: own}, ext: {external: true}, unused: }`,
    );
    expect(name).toBe("shop");
    expect(found).toEqual({
      front: { name: "shop_front", isExternal: false, isInternal: true, subnet: "10.1.0.0/24", gateway: "10.1.0.1" },
      back: { name: "back", isExternal: true, isInternal: false },
    });
    expect(kept).toEqual({
      data: { name: "shop_data", isExternal: false },
      more: { name: "own", isExternal: false },
      ext: { name: "ext", isExternal: true },
    });
    expect(app("services: {s: {image: i}}").name).toBe("web");
    expect(app("services: {s: {image: i}}", { file: "/etc/berth/apps/compose.yaml" }).name).toBe("apps");
  });

  test("services come in order of what they wait for", () => {
    const { services } = app(`services:
  a: {image: i, depends_on: {b: {condition: service_healthy}, c: {condition: service_completed_successfully, restart: true}}}
  b: {image: i, depends_on: [c]}
  c: {image: i, deploy: {replicas: 3}}
  d: {image: i, depends_on: {gone: {required: false}}}
`);
    expect(services.map(({ name }) => name)).toEqual(["c", "b", "a", "d"]);
    expect(services[2]?.dependsOn).toEqual([
      { service: "b", condition: "healthy", isRequired: true, restart: false },
      { service: "c", condition: "completed", isRequired: true, restart: true },
    ]);
    expect(services[0]).toMatchObject({ replicas: 3 });
    expect(services[3]?.dependsOn).toEqual([]);
  });

  test("anchors, merge keys and extensions", () => {
    const { services } = app(`x-base: &base
  image: one
  environment: &env {A: 1, B: 2}
services:
  a:
    <<: *base
    environment:
      <<: *env
      B: 3
  b: {<<: [*base, {image: two, user: u}], x-own: 1}
`);
    expect(services[0]?.options).toEqual({ image: "one", env: ["B=3", "A=1"] });
    expect(services[1]?.options).toEqual({ image: "one", env: ["A=1", "B=2"], user: "u" });
  });

  test("variables of .env and of the environment, which wins", () => {
    const { application, warnings } = parse(
      `services: {s: {image: "$REPO:${D}{TAG:-latest}", ports: ["${D}{PORT}:80"], command: ["$GONE", "$$HOME"]}}`,
      { environment: { TAG: "v2" }, files: { "/etc/berth/apps/.env": "REPO=r\nTAG=v1\nPORT=8080" } },
    );
    expect(application.services[0]?.options).toMatchObject({
      image: "r:v2",
      ports: [{ hostPort: 8080 }],
      command: ["", "$HOME"],
    });
    expect(warnings).toEqual([
      { line: 1, column: 80, path: "services.s.command[0]", message: "the variable GONE is not set: it is empty" },
    ]);
  });

  test("profiles", () => {
    const text = "services: {a: {image: i}, b: {image: i, profiles: [debug]}}";
    expect(app(text).services.map(({ name }) => name)).toEqual(["a"]);
    expect(app(text, { environment: { COMPOSE_PROFILES: "x, debug" } }).services.map(({ name }) => name)).toEqual([
      "a",
      "b",
    ]);
  });

  test("what has no effect is told, and its line", () => {
    const { warnings } = parse("services:\n  s:\n    image: i\n    init: true\n    expose: [80]\n");
    expect(warnings.map(({ line, path }) => [line, path])).toEqual([
      [4, "services.s.init"],
      [5, "services.s.expose"],
    ]);
  });
});

describe("what is wrong", () => {
  test("everything at once, each with file, line, column, path, and the nearest key", () => {
    expect(
      problems(`name: Web!
services:
  web:
    imag: nginx
    restart: allways
    ports:
      - "80"
      - 99999:80
    depends_on: [dbb]
  db:
    image: postgres
    environment:
      - =x
    healthcheck: {test: [CURL, x], intervall: 3}
volume: {}
`),
    ).toEqual([
      '/etc/berth/apps/web.yaml:1:7: name: expected small letters and digits, with single . _ - between, not "Web!"',
      "/etc/berth/apps/web.yaml:4:5: services.web.imag: unknown key: did you mean image?",
      "/etc/berth/apps/web.yaml:4:5: services.web: no image: what the service runs",
      '/etc/berth/apps/web.yaml:5:14: services.web.restart: expected "no", always, on-failure, on-failure:COUNT or unless-stopped',
      "/etc/berth/apps/web.yaml:7:9: services.web.ports[0]: no port of the host: write HOST:CONTAINER, since berth picks none",
      '/etc/berth/apps/web.yaml:8:9: services.web.ports[1]: expected a port such as "8080:80", "127.0.0.1:8080:80" or "53:53/udp", not "99999:80"',
      "/etc/berth/apps/web.yaml:13:9: services.db.environment[0]: expected NAME=value",
      '/etc/berth/apps/web.yaml:14:18: services.db.healthcheck.test: expected a text, ["CMD", PROGRAM, ARGUMENT...], ["CMD-SHELL", TEXT] or ["NONE"]',
      "/etc/berth/apps/web.yaml:14:36: services.db.healthcheck.intervall: unknown key: did you mean interval?",
      "/etc/berth/apps/web.yaml:15:1: volume: unknown key: did you mean volumes?",
    ]);
  });

  for (const [keys, expected, rest = ""] of [
    [
      "build: .",
      "4:5: services.s.build: not supported: berth builds no images: build elsewhere, push or `berth load` the image, and name it in `image`",
    ],
    ["network_mode: service:x", '4:19: services.s.network_mode: expected none, host, bridge, not "service:x"'],
    [
      "volumes: [dta:/d]",
      "4:14: services.s.volumes: volume dta is not among the volumes of the file: did you mean data?",
      "volumes: {data: }",
    ],
    [
      "volumes: [data:rel]",
      '4:15: services.s.volumes[0]: the path in the container must be absolute, not "rel"',
      "volumes: {data: }",
    ],
    ["volumes: [/a:/x, /b:/x/]", "4:14: services.s.volumes: /x is mounted twice"],
    [
      "volumes: [/a:/x:quick]",
      '4:15: services.s.volumes[0]: unknown option "quick" of a volume: known are ro, rw, nocopy, private, rprivate, shared, rshared, slave, rslave',
    ],
    ["depends_on: [t]", "4:17: services.s.depends_on: service t does not exist: did you mean s?"],
    [
      "depends_on: {s: {condition: service_healthy}}",
      "4:17: services.s.depends_on: services wait for each other: s -> s",
    ],
    [
      "depends_on: {t: {condition: healthy, required: false}}",
      '4:33: services.s.depends_on.t.condition: expected service_started, service_healthy, service_completed_successfully, not "healthy"',
    ],
    [
      "networks: [frnt]",
      "4:15: services.s.networks: network frnt is not among the networks of the file: did you mean front?",
      "networks: {front: }",
    ],
    [
      "networks: [default]\nnetwork_mode: host",
      "5:19: services.s.network_mode: network_mode and networks exclude each other",
    ],
    ["network_mode: none\nports: ['1:1']", "5:12: services.s.ports: no port can be published with network_mode: none"],
    ["ports: ['80:80', '80:81']", "4:12: services.s.ports: port 80/tcp of the host is published twice"],
    [
      "ports: ['80-82:80-81']",
      "4:13: services.s.ports[0]: the range of the host and that of the container have different lengths",
    ],
    [
      "mem_limit: lots",
      '4:16: services.s.mem_limit: expected a size such as "64m" or "1g", at least 6291456 bytes, not "lots"',
    ],
    [
      "stop_grace_period: 10 minutes",
      '4:24: services.s.stop_grace_period: expected a time such as "10s", "1m30s" or "500ms", not "10 minutes"',
    ],
    ["command: sh -c 'open", "4:14: services.s.command: a quote is not closed"],
    [
      "env_file: gone.env",
      "4:15: services.s.env_file: there is no file /etc/berth/apps/gone.env: make it, or say required: false",
    ],
    [
      "env_file: ../../shadow",
      "4:15: services.s.env_file: ../../shadow leads out of the directory of the file: name it by its absolute path",
    ],
    ["labels: {berth/app: x}", "4:13: services.s.labels: the label berth/app is berth's own"],
    [
      "container_name: c\ndeploy: {replicas: 2}",
      "4:21: services.s.container_name: 2 containers cannot have one name: remove container_name or deploy.replicas",
    ],
    [
      "logging: {driver: syslog}",
      '4:23: services.s.logging.driver: expected json-file, local, berth, cri, raw, ring, none, not "syslog"',
    ],
    ["secrets: [key]", '4:14: services.s.secrets: "key" is not among the secrets of the file'],
    [
      "ulimits: {nofiles: 1}",
      "4:15: services.s.ulimits.nofiles: expected one of as, core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack as the name",
    ],
    ["tty: yes", '4:10: services.s.tty: expected true or false, not "yes"'],
    [`user: "${D}{WHO:?say who}"`, "4:11: services.s.user: the variable WHO is required: say who"],
    ["image: j", "4:5: services.s.image: this key is there twice, first at line 3"],
    ["command: *gone", "4:14: services.s.command: no anchor &gone before this alias"],
  ] as [string, string, string?][]) {
    test(keys.replaceAll("\n", " / "), () => expect(wrong(keys, rest)).toEqual([expected]));
  }

  for (const [what, text, expected] of [
    ["nothing", "", "/etc/berth/apps/web.yaml:1:1: the file is empty"],
    ["a comment", "# soon", "/etc/berth/apps/web.yaml:1:1: the file is empty"],
    ["no services", "services: {}", "services: there are no services: an application has one at least"],
    ["a list", "- a", "expected a map with services"],
    ["two documents", "services: {s: {image: i}}\n---\nservices: {}", "a second document: one file is one application"],
    ["no YAML", "services: [", "not YAML:"],
    ["a tab", "services:\n\ts: 1", "/etc/berth/apps/web.yaml:2:1: not YAML:"],
    ["no image", "services: {s: {command: x}}", "services.s: no image: what the service runs"],
    ["include", "include: [a.yaml]\nservices: {s: {image: i}}", "include: not supported"],
    [
      "two of one name",
      "services: {a: {image: i, container_name: c}, b: {image: i, container_name: c}}",
      "service a has this name, too",
    ],
    [
      "two of one port",
      "services: {a: {image: i, ports: ['1:1']}, b: {image: i, ports: ['1:2']}}",
      "service a publishes port 1/tcp, too",
    ],
    [
      "a circle",
      "services: {a: {image: i, depends_on: [b]}, b: {image: i, depends_on: [a]}}",
      "services wait for each other: a -> b -> a",
    ],
    [
      "an external secret",
      "services: {s: {image: i}}\nsecrets: {k: {external: true}}",
      "secrets.k.external: not supported",
    ],
    [
      "an inactive dependency",
      "services: {a: {image: i, depends_on: [b]}, b: {image: i, profiles: [p]}}",
      "service b is of a profile that is not active",
    ],
  ] as const) {
    test(what, () => expect(problems(text).join("\n")).toContain(expected));
  }

  test("a name that no application can have", () => {
    expect(problems("services: {s: {image: i}}", { file: "/x/My App!.yaml" })).toEqual([
      '/x/My App!.yaml:1:1: name: "my app!" cannot be the name of an application: give it one with name: at the top',
    ]);
  });
});

describe("what means ill", () => {
  test("a bomb of aliases", () => {
    const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"];
    for (let n = 1; n < 12; n++) lines.push(`a${n}: &a${n} [${`*a${n - 1}, `.repeat(9)}*a${n - 1}]`);
    const begun = performance.now();
    expect(problems(`${lines.join("\n")}\nservices: {s: {image: i}}`)[0]).toContain("more than 20000 values");
    expect(performance.now() - begun).toBeLessThan(5_000);
  });
  test("an alias of itself", () => {
    expect(problems("x-a: &a {b: *a}\nservices: {s: {image: i}}")[0]).toContain("nested more than 40 deep");
  });
  test("a bomb of merge keys", () => {
    const lines = ["x-0: &a0 {k: v}"];
    for (let n = 1; n < 30; n++) lines.push(`x-${n}: &a${n} {<<: [*a${n - 1}, *a${n - 1}]}`);
    expect(problems(`${lines.join("\n")}\nservices: {s: {image: i}}`)[0]).toMatch(/more than 20000 values|nested more/);
  });
  test("depth, in brackets and in indentation", () => {
    expect(problems("[".repeat(200_000))[0]).toContain("nested more than 40 deep");
    expect(problems(Array.from({ length: 500 }, (_, n) => `${" ".repeat(n)}a:`).join("\n"))[0]).toContain(
      "nested more than 40 deep",
    );
    expect(problems("- ".repeat(5000))[0]).toContain("nested more than 40 deep");
  });
  test("length, and many keys", () => {
    expect(problems("#".repeat(1_100_000))[0]).toContain("longer than 256 KiB");
    const begun = performance.now();
    const keys = Array.from({ length: 25_000 }, (_, n) => `k${n}: 1`).join("\n");
    expect(problems(keys)[0]).toContain("more than 20000 values");
    expect(performance.now() - begun).toBeLessThan(30_000);
  }, 60_000);
  test("names of Object's own", () => {
    expect(problems("__proto__: {image: i}\nservices: {s: {image: i, constructor: 1, toString: 2}}").length).toBe(3);
    expect(problems("services: {__proto__: {image: i}}").join("\n")).toContain("as the name");
    expect(problems("services: {s: {image: i, networks: [toString], volumes: ['valueOf:/v']}}").length).toBe(2);
  });
  test("more problems than anybody reads", () => {
    const keys = Array.from({ length: 200 }, (_, n) => `zzzzzzzzz${n}: 1`).join("\n");
    const found = problems(keys);
    expect(found.length).toBe(51);
    expect(found.at(-1)).toContain("and 150 more problems");
  });
  test("files of variables that are none, and values with NUL", () => {
    const { message } = (() => {
      try {
        return parseApplication("services: {s: {image: i, env_file: /dev/zero}}", {
          file: "f",
          directory: "/",
          environment: () => undefined,
          readFile: (path) => {
            if (path === "/.env") return undefined;
            throw new Error("it is no file");
          },
        }) as never;
      } catch (error) {
        return error as Error;
      }
    })();
    expect(message).toBe("f:1:36: services.s.env_file: /dev/zero cannot be read: it is no file");
    expect(problems('services: {s: {image: i, environment: {A: "a\\0b"}}}')[0]).toContain("without NUL");
  });
});
