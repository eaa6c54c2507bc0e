/** Platforms: which machine something is for (github.com/containerd/platforms). */

/** An operating system on an architecture. Empty strings are not given. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string | undefined;
  readonly osVersion?: string | undefined;
  readonly osFeatures?: readonly string[] | undefined;
}

/** Says which platforms fit, and which fits better. */
export interface Matcher {
  /** True when something for this platform can be taken. */
  matches(platform: Platform): boolean;
  /** Below zero when `a` is to be taken before `b`, zero when neither is. */
  compare(a: Platform, b: Platform): number;
}

const architectures: Readonly<Record<string, readonly [string, string | undefined]>> = {
  i386: ["386", ""],
  x86_64: ["amd64", undefined],
  "x86-64": ["amd64", undefined],
  aarch64: ["arm64", undefined],
  armhf: ["arm", "v7"],
  armel: ["arm", "v6"],
};

/** The one form of a platform that has several, such as `x86_64` or arm64 `v8`. */
export function normalize(platform: Platform): Platform {
  const os = platform.os.toLowerCase() || "linux";
  const [architecture, fixed] = architectures[platform.architecture.toLowerCase()] ?? [
    platform.architecture.toLowerCase(),
    undefined,
  ];
  let variant = fixed ?? platform.variant?.toLowerCase() ?? "";
  if (architecture === "amd64" && variant === "v1") variant = "";
  else if (architecture === "arm64" && (variant === "8" || variant === "v8")) variant = "";
  else if (architecture === "arm" && (variant === "" || variant === "7")) variant = "v7";
  else if (architecture === "arm" && /^[568]$/.test(variant)) variant = `v${variant}`;
  return {
    os: os === "macos" ? "darwin" : os,
    architecture,
    variant,
    osVersion: platform.osVersion ?? "",
    osFeatures: [...new Set(platform.osFeatures ?? [])].sort(),
  };
}

/** A platform as one string: `linux/arm/v7`; `unknown` without an operating system. */
export function format({ os, architecture, variant }: Platform): string {
  return os === "" ? "unknown" : [os, architecture, variant].filter((part) => part).join("/");
}

function isSame(wanted: Platform, given: Platform): boolean {
  const other = normalize(given);
  return (
    wanted.os === other.os &&
    wanted.architecture === other.architecture &&
    wanted.variant === other.variant &&
    (wanted.os !== "windows" || isWindowsVersion(wanted.osVersion ?? "", given.osVersion ?? "")) &&
    (other.osFeatures ?? []).every((feature) => wanted.osFeatures?.includes(feature))
  );
}

/** Windows runs what was made for its own build; a version that is not given fits any. */
function isWindowsVersion(wanted: string, given: string): boolean {
  const build = (version: string): string => version.split(".").slice(0, 3).join(".");
  return wanted === "" || given === "" || build(wanted) === build(given);
}

/** Fits any of these platforms and nothing else; an earlier one is better. */
export function ordered(...platforms: readonly Platform[]): Matcher {
  const wanted = platforms.map(normalize);
  const rank = (platform: Platform): number => {
    const index = wanted.findIndex((candidate) => isSame(candidate, platform));
    return index < 0 ? wanted.length : index;
  };
  return { matches: (platform) => rank(platform) < wanted.length, compare: (a, b) => rank(a) - rank(b) };
}

/** Fits everything, alike. */
export const everything: Matcher = { matches: () => true, compare: () => 0 };

/** Fits what the machine `platform` can run, best first: arm64 runs arm v8 down to v5, amd64 runs 386. */
export function runnable(platform: Platform): Matcher {
  return ordered(...fallbacks(normalize(platform)));
}

function fallbacks(platform: Platform): Platform[] {
  const { architecture } = platform;
  const variant = platform.variant ?? "";
  const as = (arch: string, version: string): Platform => ({ ...platform, architecture: arch, variant: version });
  const down = (arch: string, from: number, to: number): Platform[] =>
    Array.from({ length: Math.max(0, from - to + 1) }, (_, i) => as(arch, `v${from - i}`));
  if (architecture === "amd64") {
    const level = /^v(\d+)$/.exec(variant)?.[1];
    return [platform, ...(level ? down(architecture, Number(level) - 1, 1) : []), as("386", "")];
  }
  if (architecture === "arm") {
    const level = /^v(\d+)$/.exec(variant)?.[1];
    return [platform, ...(level ? down(architecture, Number(level) - 1, 5) : [])];
  }
  if (architecture !== "arm64") return [platform];
  const [, major = "8", minor = "0"] = /^v(8|9)(?:\.(\d))?$/.exec(variant || "v8") ?? [];
  const minors = (of: string, from: number): Platform[] =>
    Array.from({ length: from + 1 }, (_, i) => as("arm64", from - i === 0 ? `v${of}` : `v${of}.${from - i}`));
  const list =
    major === "9" ? [...minors("9", Number(minor)), ...minors("8", Number(minor) + 5)] : minors("8", Number(minor));
  return [platform, ...list, ...fallbacks(normalize(as("arm", "v8")))];
}

/** This machine. */
export function hostPlatform(): Platform {
  const names: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386" };
  return normalize({ os: process.platform, architecture: names[process.arch] ?? process.arch });
}
