/** `berth version`. */

import manifest from "../../package.json" with { type: "json" };

export async function version(): Promise<number> {
  await Bun.write(Bun.stdout, `berth ${manifest.version}\n`);
  return 0;
}
