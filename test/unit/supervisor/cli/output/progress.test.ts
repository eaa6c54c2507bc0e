import { expect, test } from "bun:test";
import { drawn, LineView, type ProgressStep } from "../../../../../supervisor/cli/output/progress.ts";

const digest = `sha256:${"ab".repeat(32)}`;

function layer(event: string, progress: number): ProgressStep {
  const desc = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest };
  return { event, name: `layer-${digest}`, progress, total: 2e6, desc };
}

test("elsewhere than on a terminal there is a line when something begins and when it ends", () => {
  const lines: string[] = [];
  const view = new LineView((line) => lines.push(line));
  view.step({ event: "pulling from \x1b[2Jhost", name: "", progress: 0, total: 0 });
  const config = { mediaType: "application/vnd.oci.image.config.v1+json", digest };
  view.step({ event: "waiting", name: `config-${digest}`, progress: 0, total: 9, desc: config });
  view.step(layer("waiting", 0));
  for (let bytes = 0; bytes <= 2e6; bytes += 1e5) view.step(layer("downloading", bytes));
  view.step(layer("complete", 2e6));
  view.end();
  expect(lines).toEqual([
    "Pulling from \\x1b[2Jhost\n",
    "abababababab: Waiting\n",
    "abababababab: Downloading 2MB\n",
    "abababababab: Complete\n",
  ]);
});

test("a bar is as wide as it should be, however far it is", () => {
  for (const part of [0, 0.01, 0.5, 0.99, 1]) expect(drawn(part, 20)).toHaveLength(20);
  expect(drawn(0, 5)).toBe("     ");
  expect(drawn(0.6, 5)).toBe("==>  ");
  expect(drawn(1, 5)).toBe("=====");
});
