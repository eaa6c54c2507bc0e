import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { credentialsFor, removeCredentials, saveCredentials } from "../../../../../supervisor/cli/image/credentials.ts";

async function withFile(text: string | undefined, body: (path: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "berth-config-"));
  const path = join(directory, "config.json");
  try {
    if (text !== undefined) writeFileSync(path, text);
    await body(path);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test("what is kept is found again, and only its owner may read it; the rest of the file stays", () =>
  withFile('{"psFormat": "x", "auths": {"other:5000": {"auth": "YTpi"}}}', async (path) => {
    saveCredentials("docker.io", { username: "me", secret: "p:w" }, path);
    expect(await credentialsFor("registry-1.docker.io", path)).toEqual({ username: "me", secret: "p:w" });
    expect(await credentialsFor("other:5000", path)).toEqual({ username: "a", secret: "b" });
    expect(await credentialsFor("unknown", path)).toBeUndefined();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(path, "utf8")).psFormat).toBe("x");
    expect(removeCredentials("docker.io", path)).toBe(true);
    expect(removeCredentials("docker.io", path)).toBe(false);
    expect(await credentialsFor("docker.io", path)).toBeUndefined();
  }));

test("a file that is none says so; none at all is no credentials", async () => {
  await withFile("[]", async (path) => {
    expect(String(await credentialsFor("x", path).catch((error: unknown) => error))).toContain("no JSON object");
  });
  await withFile(undefined, async (path) => expect(await credentialsFor("x", path)).toBeUndefined());
});
