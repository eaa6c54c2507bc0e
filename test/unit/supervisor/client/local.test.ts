import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { notFound } from "../../../../proto/errdefs.ts";
import { type Api, CallError } from "../../../../supervisor/client/api.ts";
import { GrpcClient } from "../../../../supervisor/client/grpc.ts";
import { LocalApi } from "../../../../supervisor/client/local.ts";
import { GrpcServer } from "../../../../supervisor/grpc/server.ts";
import { rejection } from "../../../lib/outcome.ts";
import { processScope } from "../../../lib/scope.ts";

const namespaces = "containerd.services.namespaces.v1.Namespaces";
const content = "containerd.services.content.v1.Content";
const events = "containerd.services.events.v1.Events";
const tasks = "containerd.services.tasks.v1.Tasks";
const streaming = "containerd.services.streaming.v1.Streaming";

function serverOf(): GrpcServer {
  return new GrpcServer()
    .register(namespaces, {
      Get({ name }) {
        if (name === "") throw notFound("no name: not found");
        return { namespace: { name, labels: { seen: "yes" } } };
      },
    })
    .register(content, {
      async *Read({ offset, size }, context) {
        for (let at = Number(offset); at < Number(size); at++) {
          yield { offset: at, data: new TextEncoder().encode(context.namespace) };
        }
      },
    })
    .register(events, {
      async *Subscribe(_, context) {
        yield { namespace: context.namespace, topic: "/first" };
        await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
      },
    })
    .register(tasks, {
      async Wait() {
        return await new Promise<never>(() => {});
      },
    })
    .register(streaming, {
      async *Stream(requests) {
        for await (const { type_url: name } of requests) yield { type_url: `seen ${name}` };
      },
    });
}

async function* each<T>(...items: T[]): AsyncGenerator<T> {
  yield* items;
}

/** The same of both ways to call. */
function sameOf(name: string, open: () => Promise<{ api: Api; close: () => Promise<void> }>): void {
  const withApi = (title: string, body: (api: Api) => Promise<void>): void => {
    test(title, async () => {
      const { api, close } = await open();
      try {
        await body(api);
      } finally {
        await close();
      }
    });
  };

  describe(name, () => {
    withApi("calls a method", async (api) => {
      const { namespace } = await api.call(namespaces, "Get", { name: "edge" });
      expect(namespace?.name).toBe("edge");
      expect(namespace?.labels).toEqual({ seen: "yes" });
    });

    withApi("gives the daemon's code and words", async (api) => {
      const error = await rejection(api.call(namespaces, "Get", { name: "" }));
      expect(error).toBeInstanceOf(CallError);
      expect((error as CallError).code).toBe(5);
      expect((error as CallError).message).toBe("no name: not found");
    });

    withApi("says Unimplemented of what is not served", async (api) => {
      const error = await rejection(api.call(namespaces, "List", {}));
      expect((error as CallError).code).toBe(12);
    });

    withApi("streams responses, with the namespace of the call", async (api) => {
      const offsets: number[] = [];
      for await (const { offset, data } of api.stream(content, "Read", { offset: 2, size: 5 }, { namespace: "ns1" })) {
        offsets.push(Number(offset));
        expect(new TextDecoder().decode(data)).toBe("ns1");
      }
      expect(offsets).toEqual([2, 3, 4]);
    });

    withApi("ends a stream that is cancelled without an error", async (api) => {
      const controller = new AbortController();
      const topics: string[] = [];
      const { signal } = controller;
      for await (const { topic } of api.stream(events, "Subscribe", {}, { namespace: "ns1", signal })) {
        topics.push(topic);
        setTimeout(() => controller.abort(), 10);
      }
      expect(topics).toEqual(["/first"]);
    });

    withApi("does not wait for a handler after a call is cancelled or late", async (api) => {
      const late = await rejection(api.call(tasks, "Wait", {}, { deadlineMs: 30 }));
      expect((late as CallError).code).toBe(4);
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 10);
      const cancelled = await rejection(api.call(tasks, "Wait", {}, { signal: controller.signal }));
      expect((cancelled as CallError).code).toBe(1);
    });

    withApi("streams both ways", async (api) => {
      const seen: string[] = [];
      for await (const { type_url: name } of api.duplex(
        streaming,
        "Stream",
        each({ type_url: "a" }, { type_url: "b" }),
      )) {
        seen.push(name);
      }
      expect(seen).toEqual(["seen a", "seen b"]);
    });
  });
}

sameOf("inside the daemon", async () => ({ api: new LocalApi(serverOf()), close: async () => {} }));

let count = 0;
sameOf("over a socket", async () => {
  const server = serverOf();
  const path = join(processScope().dir, `api-${++count}.sock`);
  await server.listen(path);
  const api = new GrpcClient(path);
  return {
    api,
    close: async () => {
      api.close();
      await server.stop(0);
    },
  };
});
