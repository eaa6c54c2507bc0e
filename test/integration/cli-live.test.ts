/** What berth shows of a node: stats, top, events, df, info, doctor; and completion in real shells. */

import { expect } from "bun:test";
import { join } from "node:path";
import { Berthd } from "../lib/berthd.ts";
import { builtBerth, Cli } from "../lib/cli.ts";
import { run } from "../lib/command.ts";
import { imageName } from "../lib/image.ts";
import { dist } from "../lib/paths.ts";
import { containerSuite } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite({}, (dir, namespace, options) => new Berthd(dir, namespace, options));
const alone = ["--network", "none"];

suite.test("figures of containers, once and as JSON; processes of one", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  await cli.must("run", "-d", ...alone, "-m", "32m", "--name", name, imageName, "sh", "-c", "while :; do :; done");
  const item = JSON.parse(await cli.must("stats", "--no-stream", "--format", "json"));
  expect(item).toMatchObject({ Name: name, Status: "running", MemLimitBytes: 32 << 20 });
  expect(item.CPUPercent).toBeGreaterThan(1);
  expect(item.MemBytes).toBeGreaterThan(0);
  expect(await cli.must("stats", "--no-stream")).toMatch(/^NAME +CPU % +MEM USAGE \/ LIMIT/);
  expect(await cli.must("top", name)).toMatch(/^USER .*COMMAND\nroot .*while :; do :; done/);
  expect((await cli.run(["stats", "--no-stream", "nosuch"])).exitCode).toBe(1);
  expect(await cli.must("info")).toContain("1 running");
  expect(await cli.must("system", "df", "--format", "{{.Type}} {{.TotalCount}}")).toContain("Containers 1");
  expect(await cli.must("version")).toMatch(/^berth [\s\S]*berthd /);
  await cli.must("rm", "-f", name);
});

suite.test("the live view shows the node, takes keys, and leaves the terminal as it was", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  await cli.must("run", "-d", ...alone, "--name", name, imageName, "sleep", "1000");
  for (const end of ["q", "SIGTERM"]) {
    const screen = cli.screen(["top"], { rows: 24, cols: 100 });
    await screen.type("", new RegExp(`${name} .*running`));
    await screen.type("s", /s sort \(memory\)/);
    await screen.type("k", new RegExp(`stop ${name} in`));
    await screen.type("n", /q quit/);
    screen.clear();
    screen.resize(20, 80);
    await screen.type("", /q quit/);
    if (end === "q") await screen.type("q");
    else screen.signal("SIGTERM");
    expect(await screen.exited).toBe(end === "q" ? 0 : 143);
    expect(screen.text.lastIndexOf("\x1b[?1049l")).toBeGreaterThan(screen.text.lastIndexOf("\x1b[?1049h"));
    expect(screen.text.lastIndexOf("\x1b[?25h")).toBeGreaterThan(screen.text.lastIndexOf("\x1b[?25l"));
  }
  expect((await cli.run(["top"])).stderr).toContain("needs a terminal");
  await cli.must("rm", "-f", name);
});

suite.test("events are lines for people and objects for programs", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  const child = cli.spawn([
    "events",
    "--filter",
    `container=${name}`,
    "--filter",
    "event=start",
    "--filter",
    "event=die",
    "--format",
    "json",
  ]);
  let text = "";
  const reading = (async () => {
    const decoder = new TextDecoder();
    for await (const bytes of child.stdout) text += decoder.decode(bytes, { stream: true });
  })();
  // The subscription begins some time after the process: events of a container are made until they are seen.
  await waitFor("both events", async () => {
    await cli.run(["run", "--rm", ...alone, "--name", name, imageName, "sh", "-c", "exit 3"]);
    return text.includes('"die"');
  });
  child.kill("SIGINT");
  expect(await child.exited).toBe(130);
  await reading;
  const items = text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(new Set(items.map(({ Type, Action, ID }) => `${Type} ${Action} ${ID}`))).toEqual(
    new Set([`container start ${name}`, `container die ${name}`]),
  );
  expect(items.find(({ Action }) => Action === "die").Event.exitStatus).toBe(3);
  expect((await cli.run(["events", "--filter", "nonsense"])).exitCode).toBe(1);
});

suite.test("doctor looks at this machine, and says what to do where no daemon answers", async ({ daemon }) => {
  const cli = new Cli(daemon);
  const place = ["--root", daemon.root, "--state", daemon.state];
  const { checks } = JSON.parse((await cli.run(["doctor", "--json", ...place])).stdout);
  const answers = checks.find(({ name }: { name: string }) => name === "answers");
  expect([answers.level, answers.detail]).toEqual(["ok", expect.stringContaining("berthd")]);
  for (const { level, advice } of checks) expect(advice === undefined).toBe(level === "ok");
  const none = await cli.run(["doctor", "-q", "--address", join(daemon.dir, "nosuch.sock"), ...place]);
  expect([none.exitCode, none.stdout]).toEqual([1, expect.stringContaining("systemctl start berthd")]);
});

suite.test("bash, zsh and fish complete names, and run nothing of a line", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  const witness = join(daemon.dir, "witness");
  await cli.must("create", ...alone, "--name", name, imageName, "true");
  const env = { ...cli.env, PATH: `${dist}:${process.env["PATH"]}` };
  const bash = (line: string) =>
    run(
      [
        "bash",
        "--norc",
        "-c",
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is bash's
        'source <(berth completion bash); compopt() { :; }; COMP_LINE="$1"; COMP_POINT=${#1}; _berth berth; printf "%s\\n" "${COMPREPLY[@]}"',
        "-",
        line,
      ],
      { env },
    );
  expect((await bash(`berth stats ${name.slice(0, 1)}`)).stdout.split("\n")).toContain(name);
  // What stands before the last colon is not put there again.
  expect((await bash("berth rmi localhost/berth-test:l")).stdout.trim()).toBe("latest");
  await bash(`berth rmi $(touch ${witness}) \`touch ${witness}\` `);
  expect(await Bun.file(witness).exists()).toBe(false);
  const words = await run([builtBerth, "__complete", "words", "rm", ""], { env });
  expect(words.stdout).toContain(`${name}\t`);
  if (Bun.which("fish") !== null) {
    const fish = await run(
      ["fish", "--no-config", "-c", 'berth completion fish | source; complete -C "berth stats "'],
      { env },
    );
    expect(fish.stdout.split("\n").map((line) => line.trim())).toContain(name);
  }
  for (const shell of ["fish", "zsh"]) {
    if (Bun.which(shell) === null) console.log(`SKIP completion in ${shell}: it is not installed`);
  }
  if (Bun.which("zsh") !== null) {
    const script = "autoload -Uz compinit; compinit -u -D; source <(berth completion zsh); print $_comps[berth]";
    expect((await run(["zsh", "-f", "-c", script], { env })).stdout.trim()).toBe("_berth");
  }
  await cli.must("rm", name);
});
