/** The smallest change between what is there and what is to be there. */

import { describe, expect, test } from "bun:test";
import { canonical, hashOf } from "../../../../supervisor/app/canonical.ts";
import { parseApplication } from "../../../../supervisor/app/compose/file.ts";
import { type Desired, desiredOf } from "../../../../supervisor/app/desired.ts";
import { type Found, planOf, type Step } from "../../../../supervisor/app/plan.ts";

function desired(text: string, digests: Record<string, string> = {}): Desired {
  const { application } = parseApplication(text, {
    ...{ file: "/d/app.yaml", directory: "/d", environment: () => undefined },
    readFile: () => undefined,
  });
  return desiredOf(application, digests);
}

/** The machine after a plan was carried out. */
function after({ app, containers, networks, volumes }: Desired, more: Partial<Found> = {}): Found {
  return {
    containers: containers.map(({ id, service, hash, options, digest }) => ({
      ...{ id, app, service, hash, isWanted: true },
      made: { options, ...(digest === undefined ? {} : { digest }) },
    })),
    networks: new Set(["berth", ...networks.map(({ name }) => name)]),
    ownNetworks: new Set(networks.filter(({ isExternal }) => !isExternal).map(({ name }) => name)),
    volumes: new Set(volumes),
    ...more,
  };
}

const nothing: Found = { containers: [], networks: new Set(), ownNetworks: new Set(), volumes: new Set() };

function shown(step: Step): string {
  switch (step.kind) {
    case "network":
      return `network ${step.network.name}`;
    case "volume":
    case "remove-network":
      return `${step.kind} ${step.name}`;
    case "remove":
      return `remove ${step.id}`;
    case "create":
    case "start":
      return `${step.kind} ${step.container.id}`;
    default:
      return `${step.kind} ${step.container.id}: ${step.changes.map(({ key }) => key).join(" ")}`;
  }
}

const steps = (to: Desired, from: Found): string[] => planOf(to, from).steps.map(shown);

const two = `services:
  web: {image: i, environment: {A: 1}, depends_on: [db], volumes: ["data:/d"]}
  db: {image: j}
volumes: {data: }
`;

describe("desiredOf", () => {
  test("names, labels, networks with the service as alias, volumes, what is waited for", () => {
    const { containers, networks, volumes } = desired(`name: shop
services:
  web:
    image: i
    deploy: {replicas: 2}
    networks: {back: {aliases: [www], ipv4_address: 10.0.0.9}}
    volumes: ["data:/d", "/own"]
    depends_on: {db: {condition: service_healthy}}
  db: {image: j, container_name: the-db, networks: [back], restart: always}
networks: {back: }
volumes: {data: }
`);
    expect(containers.map(({ id }) => id)).toEqual(["the-db", "shop-web-1", "shop-web-2"]);
    expect(networks.map(({ name }) => name)).toEqual(["shop_back"]);
    expect(volumes).toEqual(["shop_data"]);
    expect(containers[2]?.options).toEqual({
      ...{ image: "i", name: "shop-web-2", restart: { name: "no" } },
      networks: [{ name: "shop_back", aliases: ["web", "www"], ip: "10.0.0.9" }],
      mounts: [
        { type: "volume", source: "shop_data", target: "/d" },
        { type: "volume", source: `shop_web_${hashOf("/own").slice(0, 12)}`, target: "/own" },
      ],
      dependsOn: [{ id: "the-db", condition: "healthy" }],
      labels: {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "2",
      },
    });
    expect(containers[0]?.options.restart).toEqual({ name: "always" });
  });
  test("the hash is that of what a container is made from", () => {
    const [first] = desired(two, { j: "sha256:1" }).containers;
    const [same] = desired(two.replace("{image: j}", "{image: j, x-note: new}"), { j: "sha256:1" }).containers;
    const [other] = desired(two, { j: "sha256:2" }).containers;
    expect(same?.hash).toBe(first?.hash ?? "");
    expect(other?.hash).not.toBe(first?.hash);
  });
});

describe("planOf", () => {
  test("everything, in order", () => {
    expect(steps(desired(two), nothing)).toEqual([
      "network app_default",
      "volume app_data",
      "create app-db-1",
      "create app-web-1",
    ]);
  });
  test("nothing", () => {
    const to = desired(two);
    const plan = planOf(to, after(to));
    expect(plan.steps).toEqual([]);
    expect(plan.kept.map(({ id }) => id)).toEqual(["app-db-1", "app-web-1"]);
  });
  for (const [what, from, to, expected] of [
    ["one variable", "A: 1", "A: 2", ["recreate app-web-1: env.A"]],
    ["a variable more", "A: 1", "A: 1, B: 2", ["recreate app-web-1: env.B"]],
    ["a label", "image: j}", "image: j, labels: {a: b}}", ["update app-db-1: labels.a"]],
    ["memory", "image: j}", "image: j, mem_limit: 64m}", ["update app-db-1: memory"]],
    [
      "a restart policy and a check",
      "image: j}",
      "image: j, restart: always, healthcheck: {test: x}}",
      ["update app-db-1: health restart"],
    ],
    [
      "a label and a command",
      "image: j}",
      "image: j, labels: {a: b}, command: x}",
      ["recreate app-db-1: command labels.a"],
    ],
    ["what is waited for", ", depends_on: [db]", "", ["update app-web-1: dependsOn"]],
    ["a volume less", ', volumes: ["data:/d"]', "", ["recreate app-web-1: mounts"]],
    ["a service more", "  db: {image: j}", "  db: {image: j}\n  new: {image: k}", ["create app-new-1"]],
    [
      "a service with a name of its own",
      "image: j}",
      "image: j, container_name: x}",
      ["remove app-db-1", "create x", "update app-web-1: dependsOn"],
    ],
    ["replicas", "image: j}", "image: j, deploy: {replicas: 2}}", ["create app-db-2", "update app-web-1: dependsOn"]],
  ] as const) {
    test(what, () => {
      const before = desired(two);
      expect(steps(desired(two.replace(from, to)), after(before))).toEqual([...expected]);
    });
  }
  test("a limit that goes needs a new container", () => {
    const before = desired(two.replace("image: j}", "image: j, mem_limit: 64m}"));
    expect(steps(desired(two), after(before))).toEqual(["recreate app-db-1: memory"]);
  });
  test("another image under the same name, the same image under another name", () => {
    const before = desired(two, { i: "sha256:1", j: "sha256:2" });
    expect(steps(desired(two, { i: "sha256:3", j: "sha256:2" }), after(before))).toEqual([
      "recreate app-web-1: digest",
    ]);
    const renamed = desired(two.replace("image: j}", "image: k}"), { i: "sha256:1", k: "sha256:2" });
    expect(steps(renamed, after(before))).toEqual(["update app-db-1: image"]);
  });
  test("what goes, goes last first, and its network with it", () => {
    const before = desired(
      `${two}`.replace("  db:", "  one: {image: x, networks: [n], depends_on: [db]}\n  db:").concat("networks: {n: }"),
    );
    const gone = steps(desired("services: {db: {image: j}}"), after(before));
    expect(gone).toEqual(["remove app-one-1", "remove app-web-1", "remove-network app_n"]);
  });
  test("who follows another is made anew with it", () => {
    const text = two.replace("depends_on: [db]", "depends_on: {db: {condition: service_started, restart: true}}");
    const to = desired(text.replace("image: j}", "image: j, user: u}"));
    expect(steps(to, after(desired(text)))).toEqual(["recreate app-db-1: user", "recreate app-web-1: depends_on"]);
  });
  test("what was stopped by hand, and what nothing is known of", () => {
    const to = desired("services: {db: {image: j}}");
    const [there] = after(to).containers;
    if (there === undefined) throw new Error("no container");
    expect(steps(to, after(to, { containers: [{ ...there, isWanted: false }] }))).toEqual(["start app-db-1"]);
    const unknown = { ...there, hash: "x", made: undefined };
    expect(steps(to, after(to, { containers: [unknown] }))).toEqual(["recreate app-db-1: hash"]);
  });
  test("what stands in the way", () => {
    const to = desired(`services: {db: {image: j, networks: [n], volumes: ["v:/v"]}}
networks: {n: {external: true}}
volumes: {v: {external: true}}`);
    const foreign = { id: "app-db-1", app: undefined, service: "", hash: "", made: undefined, isWanted: true };
    expect(planOf(to, { ...nothing, containers: [foreign] }).obstacles).toEqual([
      "network n is external and not there: berth network create n",
      "volume v is external and not there: berth volume create v",
      "container app-db-1 is there and is not of an application: remove it (berth rm -f app-db-1), or give the service another container_name",
    ]);
    const other = planOf(to, { ...nothing, containers: [{ ...foreign, app: "b" }] }).obstacles[2];
    expect(other).toContain("is of the application b");
  });
});

test("canonical: order of keys does not matter, that of lists does", () => {
  expect(canonical({ b: 1, a: [{ d: undefined, c: 2 }] })).toBe('{"a":[{"c":2}],"b":1}');
  expect(hashOf([1, 2])).not.toBe(hashOf([2, 1]));
  expect(canonical(JSON.parse('{"__proto__":1}'))).toBe('{"__proto__":1}');
  expect(canonical(undefined)).toBe("null");
});
