/** Everything that a container can be made with: what `berth run` and applications say, in one type. */

import type { HealthConfig } from "./health.ts";
import type { Dependency } from "./labels.ts";

/** A file system that the container sees beside its own. */
export type MountOption = BindMount | VolumeMount | TmpfsMount;

/** A file or directory of the host. */
export interface BindMount {
  readonly type: "bind";
  /** An absolute path. */
  readonly source: string;
  readonly target: string;
  readonly readOnly?: boolean;
  /** Make an empty directory where the source is missing (`-v` does, `--mount` does not). */
  readonly createSource?: boolean;
  /** rprivate unless told. */
  readonly propagation?: "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave";
}

/** A volume: a directory that berth keeps, and fills with what the image has at its place when it is empty. */
export interface VolumeMount {
  readonly type: "volume";
  /** Its name; undefined for one of the container's own, which goes with it. */
  readonly source?: string;
  readonly target: string;
  readonly readOnly?: boolean;
  /** Do not fill it from the image. */
  readonly noCopy?: boolean;
}

/** Memory. */
export interface TmpfsMount {
  readonly type: "tmpfs";
  readonly target: string;
  readonly readOnly?: boolean;
  /** Bytes. */
  readonly size?: number;
  /** Such as 0o1777. */
  readonly mode?: number;
  /** Further options, as mount spells them. */
  readonly options?: readonly string[];
}

/** A port of the host that leads to one of the container. */
export interface PortMapping {
  /** All addresses unless told. */
  readonly hostIp?: string;
  /** 0: any that is free. */
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp" | "sctp";
}

/** A network that the container is attached to. */
export interface NetworkAttachment {
  readonly name: string;
  /** Further names in this network. */
  readonly aliases?: readonly string[];
  readonly ip?: string;
  readonly mac?: string;
}

/** A resource limit; -1: none. */
export interface Ulimit {
  /** Such as `nofile`. */
  readonly name: string;
  readonly soft: number;
  readonly hard: number;
}

/** A device of the host. */
export interface DeviceOption {
  readonly source: string;
  readonly target: string;
  /** Of `rwm`. */
  readonly permissions: string;
}

/** Where output goes. */
export interface LogOptions {
  /** JSON lines, CRI's text, plain bytes, JSON lines in memory, or nowhere. */
  readonly driver: "json" | "cri" | "raw" | "ring" | "none";
  /** Bytes of one file before a new one begins. */
  readonly maxSize?: number;
  readonly maxFile?: number;
  /** A log URI that is used as it is, instead of all others: `file://...` or `binary://...`. */
  readonly uri?: string;
}

/** When a container that has ended is started again. */
export interface RestartPolicy {
  readonly name: "no" | "always" | "on-failure" | "unless-stopped";
  /** Of `on-failure`: so many times at most; 0 for any number. */
  readonly maximum?: number;
}

/** The application that a container is of. */
export interface AppOptions {
  readonly name: string;
  readonly service: string;
  readonly revision: string;
  readonly hash: string;
}

/** What a container is made with. What is undefined is as the image says, or as docker does. */
export interface RunOptions {
  /** The container's id; undefined for one made from the image's name. */
  readonly name?: string;
  /** A reference, such as `busybox` or `docker.io/library/busybox:latest`. */
  readonly image: string;
  /** Arguments; undefined for the image's. */
  readonly command?: readonly string[];
  /** Undefined for the image's; empty for none. */
  readonly entrypoint?: readonly string[];
  /** `NAME=VALUE`; a `NAME` alone takes the image's away. */
  readonly env?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  /** Annotations of the OCI spec. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly mounts?: readonly MountOption[];
  readonly ports?: readonly PortMapping[];
  /** Publish every port that the image exposes, each at any that is free. */
  readonly publishAll?: boolean;
  /** The networks; undefined or empty for the default one. Not with a `networkMode`. */
  readonly networks?: readonly NetworkAttachment[];
  /** `host`, `none`, or `container:ID`, in place of networks. */
  readonly networkMode?: string;
  /** The container's id unless told. */
  readonly hostname?: string;
  readonly dns?: readonly string[];
  readonly dnsSearch?: readonly string[];
  readonly dnsOptions?: readonly string[];
  /** `NAME:ADDRESS`. */
  readonly extraHosts?: readonly string[];
  /** `USER[:GROUP]`, names or numbers. */
  readonly user?: string;
  readonly groupAdd?: readonly string[];
  readonly workdir?: string;
  readonly tty?: boolean;
  /** Somebody may write to it. */
  readonly stdin?: boolean;
  /** Bytes. */
  readonly memory?: number;
  /** Bytes that memory and swap may have together; -1: any. */
  readonly memorySwap?: number;
  readonly memoryReservation?: number;
  readonly oomKillDisable?: boolean;
  /** -1000 to 1000. */
  readonly oomScoreAdj?: number;
  /** CPUs' time at most, such as 1.5. */
  readonly cpus?: number;
  readonly cpuShares?: number;
  /** Microseconds. */
  readonly cpuQuota?: number;
  readonly cpuPeriod?: number;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  /** Processes and threads at most; -1: any. */
  readonly pidsLimit?: number;
  readonly ulimits?: readonly Ulimit[];
  readonly devices?: readonly DeviceOption[];
  /** Names with or without `CAP_`, or `ALL`. */
  readonly capAdd?: readonly string[];
  readonly capDrop?: readonly string[];
  readonly privileged?: boolean;
  readonly readOnly?: boolean;
  /** Bytes; 64 MiB unless told. */
  readonly shmSize?: number;
  readonly sysctls?: Readonly<Record<string, string>>;
  /** `no-new-privileges`, `seccomp=unconfined` or `seccomp=FILE`. */
  readonly securityOpt?: readonly string[];
  readonly pid?: "host";
  readonly ipc?: "host";
  readonly uts?: "host";
  readonly cgroupns?: "host" | "private";
  /** A path in the cgroup tree under which the container's lies. */
  readonly cgroupParent?: string;
  readonly restart?: RestartPolicy;
  /** Undefined for the image's; null for none. */
  readonly health?: HealthConfig | Partial<HealthConfig> | null;
  readonly log?: LogOptions;
  /** A name or a number; the image's or SIGTERM unless told. */
  readonly stopSignal?: string;
  /** Milliseconds; 10 s unless told. */
  readonly stopTimeout?: number;
  readonly pull?: "missing" | "always" | "never";
  /** Such as `linux/arm64`; the machine's unless told. */
  readonly platform?: string;
  readonly snapshotter?: string;
  /** Such as `io.containerd.runc.v2`. */
  readonly runtime?: string;
  /** Remove the container when its task has ended. */
  readonly autoRemove?: boolean;
  readonly app?: AppOptions;
  readonly dependsOn?: readonly Dependency[];
}
