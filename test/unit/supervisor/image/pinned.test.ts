import { expect, test } from "bun:test";
import { isPinned } from "../../../../supervisor/image/pinned.ts";

test("only the CRI's own label and value pin an image", () => {
  expect(isPinned({ "io.cri-containerd.pinned": "pinned" })).toBe(true);
  expect(isPinned({ "io.cri-containerd.pinned": "" })).toBe(false);
  expect(isPinned({ "io.cri-containerd.pinned": "true" })).toBe(false);
  expect(isPinned({})).toBe(false);
});
