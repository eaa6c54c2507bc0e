/** berthd's content service: the same, word for word, as the containerd whose API it is. */

import { expect } from "bun:test";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { contentTranscript } from "../lib/api/content.ts";
import { differences } from "../lib/api/transcript.ts";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { Daemon } from "../lib/daemon.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";

/** Where with-containerd keeps the version that berthd says it is. */
const reference = join(process.env["CACHE_DIR"] ?? join(homedir(), ".cache/with-containerd"), "2.1/usr/bin");

/** containerd of that version, whatever the PATH has. */
class Reference extends Daemon {
  protected override command(): string[] {
    return [join(reference, "containerd"), ...super.command().slice(1)];
  }
}

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  if (!existsSync(builtBerthd)) return "berthd is not built";
  return existsSync(join(reference, "containerd")) ? undefined : "with-containerd has not fetched containerd 2.1";
}

testUnless(
  whyNot(),
  "writes, reads, lists, labels, ingests and events of content are those of containerd 2.1",
  async () => {
    const { dir, token } = processScope();
    const daemons = [new Reference(join(dir, "containerd"), token), new Berthd(join(dir, "berthd"), token)];
    try {
      await Promise.all(daemons.map((daemon) => daemon.start()));
      const [expected = [], actual = []] = await Promise.all(daemons.map(({ address }) => contentTranscript(address)));
      expect(expected.length).toBeGreaterThan(150);
      expect(differences(expected, actual)).toEqual([]);
    } finally {
      for (const daemon of daemons) {
        await daemon.stop();
        daemon.remove();
      }
    }
  },
  60_000,
);
