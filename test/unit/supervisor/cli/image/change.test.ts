import { expect, test } from "bun:test";
import { changed } from "../../../../../supervisor/cli/image/change.ts";

test("instructions change the configuration, and what they do not name stays", () => {
  const config = [
    'CMD ["cat", "/x"]',
    "ENTRYPOINT echo hi",
    'ENV A=1 B="two words"',
    "ENV C three",
    "LABEL a.b=c",
    "EXPOSE 80 53/udp",
    "WORKDIR /w",
    "USER 1000",
  ].reduce(changed, { Env: ["PATH=/bin", "A=0"], Labels: { x: "y" } });
  expect(config).toEqual({
    Env: ["PATH=/bin", "A=1", "B=two words", "C=three"],
    Labels: { x: "y", "a.b": "c" },
    Cmd: ["cat", "/x"],
    Entrypoint: ["/bin/sh", "-c", "echo hi"],
    ExposedPorts: { "80/tcp": {}, "53/udp": {} },
    WorkingDir: "/w",
    User: "1000",
  });
});

test("what is no instruction is refused", () => {
  for (const wrong of ["FROM x", "CMD [1]", "ENV", "LABEL =", ""]) expect(() => changed({}, wrong)).toThrow();
});
