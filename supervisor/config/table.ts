/** Every key of the configuration: its kind, default, unit and documentation. The one place where a key is added. */

import {
  boolean,
  decimal,
  duration,
  integer,
  type Kind,
  level,
  listenAddress,
  oneOf,
  optionalPath,
  path,
  pathList,
  size,
  subnetList,
  type TomlValue,
  table,
  text,
  textList,
  watermark,
} from "./kinds.ts";

/** One key. */
export interface Key<T> {
  readonly kind: Kind<T>;
  /** The default as a person would write it. */
  readonly fallback: TomlValue;
  readonly doc: string;
}

/** `[name]`: keys under one heading. */
export interface Section<C> {
  readonly keys: C;
  readonly doc: string;
}

/** `[name.ANY]`: any number of tables of the same keys. */
export interface Named<C> {
  readonly each: C;
  readonly doc: string;
  /** A name to show in the example. */
  readonly example: string;
}

/** What may stand at one level of the configuration. */
export interface Level {
  readonly [name: string]: Key<unknown> | Section<Level> | Named<Level>;
}

function key<T>(kind: Kind<T>, fallback: TomlValue, doc: string): Key<T> {
  return { kind, fallback, doc };
}

function section<const C extends Level>(doc: string, keys: C): Section<C> {
  return { doc, keys };
}

const owner = { uid: integer(0, 2 ** 32 - 2), gid: integer(0, 2 ** 32 - 2) };
const message = size(64 << 10, 256 << 20);

export const configuration = {
  root: key(path, "/var/lib/berth", "What must survive a reboot: blobs, snapshots, the database."),
  state: key(path, "/run/berth", "What need not: bundles, sockets. Best on a tmpfs."),
  oom_score: key(integer(-1000, 1000), 0, "oom_score_adj of the daemon; 0 leaves what it was started with."),
  grpc: section("The API that ctr, nerdctl, dockerd and others call.", {
    address: key(path, "/run/berth/berth.sock", "Path of the unix socket."),
    uid: key(owner.uid, 0, "User that owns the socket, by number."),
    gid: key(owner.gid, 0, "Group that may use the socket (mode 0660), by number."),
    max_recv_message_size: key(message, "16MiB", "Longest request."),
    max_send_message_size: key(message, "16MiB", "Longest answer."),
  }),
  ttrpc: section("The socket on which shims publish events.", {
    address: key(optionalPath, "", 'Path of the unix socket; "": that of gRPC with ".ttrpc" after it.'),
    uid: key(owner.uid, 0, "User that owns the socket, by number."),
    gid: key(owner.gid, 0, "Group that may use the socket, by number."),
  }),
  debug: section("Looking inside.", {
    address: key(
      optionalPath,
      "",
      'Path of the unix socket whose GET /debug/state tells what the daemon does; "": debug.sock in the state. Mode 0600.',
    ),
    uid: key(owner.uid, 0, "User that owns the socket, by number."),
    gid: key(owner.gid, 0, "Group of the socket, by number."),
    level: key(level, "info", "Least level of lines in the log. SIGHUP reads it anew."),
  }),
  metrics: section("Prometheus.", {
    address: key(listenAddress, "", 'GET /v1/metrics there answers; "": nowhere. Without authentication.'),
  }),
  status: section("The status of the node: a page for people, GET /status for programs.", {
    enabled: key(boolean, true, "Whether it is served."),
    address: key(
      listenAddress,
      "",
      'Where; "": status.sock in the state, for the users of the API. An address that is not of loopback needs a token.',
    ),
    token: key(text, "", "What lets its owner start, stop and restart; without one the status is read-only."),
    token_file: key(optionalPath, "", "A file with the token, in place of it."),
    names: key(text, "", "Names of this machine that a browser may use, beside its own, with spaces between them."),
  }),
  runtimes: {
    doc: "A runtime by its name, when it is not to be found in PATH as containerd finds it.",
    example: "io.containerd.runc.v2",
    each: {
      path: key(optionalPath, "", 'The shim\'s executable; "": found in PATH by the name.'),
      options: key(
        table,
        {},
        "Options of tasks whose client gives none, spelled as containerd spells runc's: SystemdCgroup, BinaryName, …",
      ),
    },
  },
  snapshotter: section("File systems of containers.", {
    default: key(text, "overlayfs", "The snapshotter of an unpacked image when its client names none."),
  }),
  proxy_plugins: {
    doc: "A process of its own that serves a part of the API on a unix socket.",
    example: "stargz",
    each: {
      type: key(oneOf("snapshot"), "snapshot", "What it serves."),
      address: key(path, "/run/stargz/stargz.sock", "Path of its unix socket."),
    },
  },
  gc: section("When blobs and snapshots that nobody refers to are removed.", {
    pause_threshold: key(decimal(0, 0.5), 0.02, "The largest part of the time that collecting may take."),
    deletion_threshold: key(integer(0, 1e9), 0, "Deletions after which to collect at once; 0: none do."),
    mutation_threshold: key(
      integer(0, 1e9),
      100,
      "Changes after which to collect, even without a deletion; 0: none do.",
    ),
    schedule_delay: key(duration, "0ms", "Wait between the reason to collect and doing it."),
    startup_delay: key(duration, "100ms", "Wait before the first collection after a start."),
  }),
  images: section("Images that the daemon brings by itself, and how it spares the network.", {
    directories: key(
      pathList,
      "/var/lib/berth/images:/media/*/berth",
      "Directories that are watched for archives of images and for lists (*.txt) of images to fetch; a * stands for one name. The first of these is that of any root.",
    ),
    prefetch: key(textList, [], "Images that are fetched, pinned, and fetched again until they are there."),
    namespace: key(text, "default", "The namespace that these images are for."),
    pin: key(boolean, true, "Whether these images are pinned: neither collection nor eviction takes them."),
    deltas: key(boolean, true, "Whether a pull looks for a delta from an older image that is here."),
  }),
  registry: section("Registries, for pulls and pushes that the daemon does itself.", {
    config_path: key(
      pathList,
      "/etc/berth/certs.d:/etc/containerd/certs.d",
      "Where HOST/hosts.toml is looked for, when a client names no place: the first of these that is there.",
    ),
    repair: key(
      boolean,
      true,
      "Whether a blob that is found damaged is fetched again by itself, where it is known from where it came.",
    ),
    max_concurrent_downloads: key(integer(1, 64), 3, "Blobs of one image that are fetched or pushed at the same time."),
  }),
  restart: section("Containers with containerd's restart labels.", {
    enabled: key(boolean, true, "Whether they are restarted."),
    backoff_min: key(duration, "100ms", "Wait before the first restart."),
    backoff_max: key(duration, "1m", "The wait doubles up to this."),
    backoff_reset: key(duration, "10s", "A task that ran this long starts again from the shortest wait."),
    parallel: key(integer(1, 1000), 8, "Containers that are started at the same time; others wait for their turn."),
  }),
  health: section("Health checks of containers.", {
    parallel: key(integer(1, 1000), 4, "Checks that run at the same time; others wait for their turn."),
  }),
  disk: section("How full the file systems of root and state may become.", {
    high_watermark: key(watermark, "85%", "Above it room is made: garbage, images that nobody uses, rotated logs go."),
    low_watermark: key(watermark, "80%", "Room is made until it is below this."),
    critical: key(watermark, "95%", "Above it pulls, imports and new containers are refused. Removals always work."),
    reserve: key(
      size(4 << 20, 1 << 30),
      "16MiB",
      "Room that is kept for removals on a full disk; at most a fiftieth of the disk, or 4MiB.",
    ),
    check_interval: key(
      duration,
      "1m",
      "How often it is looked while containers run, whose logs and files may grow; otherwise after writes alone.",
    ),
    keep_images: key(
      duration,
      "10m",
      "An image that was pulled, imported or used this short a time ago is not evicted.",
    ),
  }),
  network: section("Networks of containers, by CNI.", {
    conf_dir: key(path, "/etc/cni/net.d", "Where conflists are, berth's own among them."),
    plugin_dirs: key(pathList, "/usr/lib/cni:/opt/cni/bin", "Where plugins are looked for, in this order."),
    default: key(text, "berth", "The network of containers that name none; made when it is not there."),
    pools: key(
      subnetList,
      "10.210.0.0/16 172.30.0.0/16 192.168.192.0/18",
      "Ranges out of which new networks get a subnet that nobody else has.",
    ),
    shared_rules: key(
      boolean,
      true,
      "Rules of iptables that are the same for all containers of a network are made once; false: by the plugins bridge and firewall, for each.",
    ),
  }),
  apps: section("Applications: files in Compose's schema.", {
    directory: key(
      optionalPath,
      "/etc/berth/apps",
      'Its *.yaml are applied as they come, change and go; "": none are. It is not made when it is not there.',
    ),
    namespace: key(text, "default", "The namespace of their containers."),
    stable: key(duration, "10s", "A new container without a health check is well when it has run for so long."),
    start_timeout: key(duration, "1m", "A new container that has not started after this has failed."),
  }),
  diff: section("Limits on unpacking one layer, against layers made to fill a disk.", {
    max_size: key(size(1 << 20, 2 ** 50), "256GiB", "Bytes of the uncompressed layer."),
    max_entries: key(integer(1, 1e9), 10_000_000, "Files and directories in it."),
  }),
} as const satisfies Level;
