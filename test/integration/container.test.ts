import { expect } from "bun:test";
import { containerSuite } from "../lib/suite.ts";

const suite = containerSuite();

suite.test("T-STA-1 T-WAI-1 ctr run prints the output and exits 0", async ({ daemon, id }) => {
  const result = await daemon.run(id(), ["echo", "hello"]);
  expect(result).toMatchObject({ exitCode: 0, stdout: "hello\n", stderr: "" });
});
