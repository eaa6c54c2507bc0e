/** Who we are. */

import manifest from "../package.json" with { type: "json" };

/** The runtime's name, as `-info` tells it. */
export const name = "io.containerd.berth.v2";
export const version: string = manifest.version;
