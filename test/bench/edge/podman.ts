/** Debian's podman: no daemon, a conmon for each container. */

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { findPackaged } from "../../lib/packaged.ts";
import { versionOf } from "../machine.ts";
import { EdgeNode } from "./node.ts";

/** What podman needs that the package does not hold. */
const packages = [
  "podman",
  "conmon",
  "golang-github-containers-common",
  "golang-github-containers-image",
  "catatonit",
  "libdevmapper1.02.1",
  "libgpgme11",
  "libsubid4",
  "libassuan0",
  "libgpg-error0",
  "netavark",
  "aardvark-dns",
];

/** The path of podman, or why there is none. */
export function findPodman(): Promise<string | Error> {
  return findPackaged("podman", packages);
}

/** A node of podman alone. */
export class PodmanNode extends EdgeNode {
  override readonly name = "podman";
  /** Where the package is unpacked, or the root where it is installed. */
  readonly #root: string;

  private constructor(dir: string, token: string, root: string) {
    super(dir, token);
    this.#root = root;
  }

  /** @returns why podman cannot be had */
  static async make(dir: string, token: string): Promise<PodmanNode | Error> {
    const found = await findPodman();
    if (found instanceof Error) return found;
    const root = found.startsWith("/usr/") ? "/" : dirname(dirname(found));
    const node = new PodmanNode(dir, token, root);
    node.#configure();
    return node;
  }

  #configure(): void {
    const config = join(this.dir, "home/.config/containers");
    mkdirSync(config, { recursive: true });
    mkdirSync(join(this.dir, "net"), { recursive: true });
    cpSync(join(this.#root, "etc/containers/policy.json"), join(config, "policy.json"));
    // An unpacked conmon must be started with its libraries: podman does not pass them on, nor does conmon to podman.
    const conmon = join(this.#root, this.#root === "/" ? "usr/bin/conmon" : "bin/conmon");
    // Limits that this machine lets nobody raise are left as they are; crun refuses hybrid cgroups.
    writeFileSync(
      join(this.dir, "containers.conf"),
      `[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
conmon_path = [${JSON.stringify(conmon)}]
helper_binaries_dir = [${JSON.stringify(join(this.#root, "usr/lib/podman"))}]
[network]
network_backend = "netavark"
network_config_dir = ${JSON.stringify(join(this.dir, "net"))}
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
`,
    );
    writeFileSync(
      join(this.dir, "storage.conf"),
      `[storage]
driver = "overlay"
graphroot = ${JSON.stringify(join(this.dir, "root"))}
runroot = ${JSON.stringify(join(this.dir, "run"))}
`,
    );
  }

  override version(): string {
    return versionOf(["env", `LD_LIBRARY_PATH=${this.#libraries}`, join(this.#root, "usr/bin/podman"), "--version"]);
  }

  get #libraries(): string {
    return `${join(this.#root, "usr/lib/x86_64-linux-gnu")}:${join(this.#root, "lib/x86_64-linux-gnu")}`;
  }

  protected override env(): Record<string, string | undefined> {
    const home = join(this.dir, "home");
    return {
      ...process.env,
      ...(this.#root === "/" ? {} : { LD_LIBRARY_PATH: this.#libraries }),
      HOME: home,
      XDG_CONFIG_HOME: join(home, ".config"),
      CONTAINERS_CONF: join(this.dir, "containers.conf"),
      CONTAINERS_STORAGE_CONF: join(this.dir, "storage.conf"),
    };
  }

  protected override argv(args: readonly string[]): string[] {
    const places = [
      "--root",
      join(this.dir, "root"),
      "--runroot",
      join(this.dir, "run"),
      "--tmpdir",
      join(this.dir, "t"),
    ];
    return [join(this.#root, "usr/bin/podman"), ...places, ...args];
  }

  protected override runFlags(): string[] {
    return ["--cgroup-parent", `/${this.token}`];
  }

  protected override volatile(): readonly string[] {
    return [join(this.dir, "run"), join(this.dir, "t"), ...this.#runcStates()];
  }

  /** What runc keeps of our containers. */
  #runcStates(): string[] {
    const root = "/run/runc";
    if (!existsSync(root)) return [];
    const paths = readdirSync(root).map((id) => join(root, id));
    const isOurs = (path: string): boolean => readFileSync(join(path, "state.json"), "utf8").includes(this.dir);
    return paths.filter((path) => existsSync(join(path, "state.json")) && isOurs(path));
  }

  override async pull(reference: string): Promise<void> {
    await this.ask(["pull", "--tls-verify=false", reference]);
  }

  /** What podman-restart.service does at boot. */
  override async boot(): Promise<void> {
    await this.ask(["start", "--all", "--filter", "restart-policy=always"]);
  }

  override async ready(): Promise<void> {}
}
