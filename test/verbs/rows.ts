/** The verbs of `berth`, each with calls that show that it works. */

/** One call, and what must come of it. */
export interface Call {
  /** Arguments; `IMAGE`, `REGISTRY` and `DIR` are replaced. */
  readonly args: readonly string[];
  /** 0 unless told. */
  readonly exit?: number;
  /** Of stdout. */
  readonly says?: RegExp;
  /** May fail: it tidies up. */
  readonly tidies?: boolean;
  /** It goes on until it is ended: after so many milliseconds, without having failed. */
  readonly lasts?: number;
}

/** What a verb needs of the daemon beside containerd 1.6's API. */
export type Need = "berthd" | "containerd 1.7";

/** One row of the table. */
export interface Row {
  readonly name: string;
  readonly needs?: Need;
  readonly calls: readonly Call[];
}

const run = (name: string, ...command: string[]): Call => ({
  args: ["run", "-d", "--name", name, "--network", "none", "IMAGE", ...command],
});
const remove = (...names: string[]): Call => ({ args: ["rm", "-f", ...names], tidies: true });

/** A row whose calls have a container `box` that sleeps. */
function withBox(name: string, ...calls: Call[]): Row {
  return { name, calls: [run("box", "sleep", "1000"), ...calls, remove("box")] };
}

export const rows: readonly Row[] = [
  { name: "run", calls: [{ args: ["run", "--rm", "--network", "none", "IMAGE", "echo", "hello"], says: /^hello$/m }] },
  {
    name: "run: the container's exit status",
    calls: [
      { args: ["run", "--rm", "--network", "none", "IMAGE", "sh", "-c", "exit 3"], exit: 3 },
      { args: ["run", "--rm", "--network", "none", "IMAGE", "nosuch"], exit: 127 },
      { args: ["run", "--rm", "--network", "none", "IMAGE", "/etc/passwd"], exit: 126 },
      { args: ["run", "--rm", "--pull", "never", "localhost/nosuch:1", "true"], exit: 125 },
    ],
  },
  {
    name: "run -d, -e, -v, -m, --cpus",
    calls: [
      {
        args: [
          ..."run --rm --network none -e A=b -v DIR:/m -m 64m --cpus 0.5 IMAGE".split(" "),
          "sh",
          "-c",
          "echo $A; ls /m",
        ],
        says: /^b$/m,
      },
    ],
  },
  { name: "run --network (CNI)", calls: [{ args: ["run", "--rm", "IMAGE", "ip", "addr"], says: /eth0/ }] },
  withBox("ps", { args: ["ps"], says: /box/ }, { args: ["ps", "--all", "--format", "json"], says: /"box"/ }),
  {
    name: "create, start, wait",
    calls: [
      { args: ["create", "--name", "made", "--network", "none", "IMAGE", "sh", "-c", "exit 4"] },
      { args: ["start", "made"] },
      { args: ["wait", "made"], says: /^4$/m },
      remove("made"),
    ],
  },
  {
    name: "logs",
    calls: [
      run("chatty", "sh", "-c", "echo out; echo err >&2"),
      { args: ["wait", "chatty"] },
      { args: ["logs", "chatty"], says: /^out$/m },
      remove("chatty"),
    ],
  },
  withBox(
    "exec",
    { args: ["exec", "box", "echo", "inside"], says: /^inside$/m },
    { args: ["exec", "box", "false"], exit: 1 },
  ),
  withBox("stop", { args: ["stop", "-t", "1", "box"] }, { args: ["ps", "--all", "--format", "json"], says: /xited/ }),
  withBox("kill", { args: ["kill", "-s", "KILL", "box"] }, { args: ["wait", "box"], says: /^137$/m }),
  withBox("restart", { args: ["restart", "-t", "1", "box"] }, { args: ["ps"], says: /box/ }),
  withBox("pause, unpause", { args: ["pause", "box"] }, { args: ["unpause", "box"] }),
  withBox("rm -f", { args: ["rm", "-f", "box"] }, { args: ["inspect", "box"], exit: 1 }),
  withBox("inspect", { args: ["inspect", "box"], says: /"Running": ?true/ }),
  withBox("stats", { args: ["stats", "--no-stream"], says: /box/ }),
  withBox("top", { args: ["top", "box"], says: /sleep/ }),
  withBox(
    "cp",
    { args: ["cp", "DIR/file", "box:/tmp/copied"] },
    { args: ["exec", "box", "cat", "/tmp/copied"], says: /content/ },
    { args: ["cp", "box:/etc/passwd", "DIR/back"] },
  ),
  withBox(
    "commit",
    { args: ["exec", "box", "touch", "/kept"] },
    { args: ["commit", "box", "localhost/committed:1"] },
    { args: ["run", "--rm", "--network", "none", "localhost/committed:1", "ls", "/kept"], says: /kept/ },
    { args: ["rmi", "-f", "localhost/committed:1"], tidies: true },
  ),
  withBox("update", { args: ["update", "-m", "80m", "box"] }),
  withBox("port", { args: ["port", "box"] }),
  {
    name: "images",
    calls: [
      { args: ["images"], says: /berth-test/ },
      { args: ["images", "--format", "json"], says: /berth-test/ },
    ],
  },
  {
    name: "image inspect, history",
    calls: [
      { args: ["image", "inspect", "IMAGE"], says: /sha256:/ },
      { args: ["history", "IMAGE"], says: /busybox/ },
    ],
  },
  { name: "tag", calls: [{ args: ["tag", "IMAGE", "localhost/other:1"] }, { args: ["rmi", "localhost/other:1"] }] },
  {
    name: "pin, unpin",
    calls: [
      { args: ["pin", "IMAGE"] },
      { args: ["image", "prune", "--all", "-f"] },
      { args: ["images"], says: /berth-test/ },
      { args: ["unpin", "IMAGE"] },
    ],
  },
  {
    name: "save, load",
    needs: "containerd 1.7",
    calls: [
      { args: ["save", "-o", "DIR/saved.tar", "IMAGE"] },
      { args: ["load", "-i", "DIR/saved.tar"], says: /berth-test/ },
    ],
  },
  {
    name: "push, pull",
    needs: "containerd 1.7",
    calls: [
      { args: ["tag", "IMAGE", "REGISTRY/pushed:1"] },
      { args: ["push", "REGISTRY/pushed:1"] },
      { args: ["rmi", "REGISTRY/pushed:1"] },
      { args: ["pull", "REGISTRY/pushed:1"] },
      { args: ["rmi", "REGISTRY/pushed:1"], tidies: true },
    ],
  },
  {
    name: "network ls, create, rm",
    calls: [
      { args: ["network", "create", "berthtest"] },
      { args: ["network", "ls"], says: /berthtest/ },
      { args: ["network", "rm", "berthtest"] },
      { args: ["network", "create", "unused"] },
      { args: ["network", "prune", "-f"], says: /unused/ },
    ],
  },
  {
    name: "volume create, ls, rm",
    calls: [
      { args: ["volume", "create", "vol"] },
      { args: ["volume", "ls"], says: /vol/ },
      { args: ["volume", "rm", "vol"] },
    ],
  },
  {
    name: "prune",
    calls: [run("ended", "true"), { args: ["wait", "ended"] }, { args: ["prune", "-f"], says: /ended/ }],
  },
  { name: "system info", calls: [{ args: ["system", "info"], says: /runc/ }] },
  { name: "system df", calls: [{ args: ["system", "df"], says: /Images/i }] },
  { name: "version", calls: [{ args: ["version"], says: /\d+\.\d+/ }] },
  {
    name: "events",
    calls: [{ args: ["events"], lasts: 2000 }],
  },
  {
    name: "run -d --rm",
    needs: "berthd",
    calls: [{ args: ["run", "-d", "--rm", "--network", "none", "IMAGE", "true"] }],
  },
  {
    name: "run --health-cmd",
    needs: "berthd",
    calls: [
      { args: ["run", "-d", "--name", "box", "--network", "none", "--health-cmd", "true", "IMAGE", "sleep", "1000"] },
      remove("box"),
    ],
  },
  { name: "apps", needs: "berthd", calls: [{ args: ["apps", "ls"] }] },
  { name: "apply", needs: "berthd", calls: [{ args: ["apply", "DIR/app.yaml"] }, { args: ["apps", "rm", "verbs"] }] },
  { name: "diff", needs: "berthd", calls: [{ args: ["diff", "DIR/app.yaml"], exit: 1 }] },
];
