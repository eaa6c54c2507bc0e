import { expect, test } from "bun:test";
import { Metadata } from "@grpc/grpc-js";
import { containerd } from "../../../../proto/gen/supervisor.js";
import { CallContext } from "../../../../supervisor/grpc/context.ts";
import { type TransferParts, transferService } from "../../../../supervisor/grpc/transfer.ts";
import { type Message, Stream, Streams } from "../../../../supervisor/image/stream/streams.ts";
import type { Transfers } from "../../../../supervisor/image/transfer.ts";

const types = containerd.types.transfer;
const { TransferRequest } = containerd.services.transfer.v1;

test("a transfer that is cancelled ends, although its client keeps the stream of progress open and unread", async () => {
  const incoming: AsyncIterator<Message> = { next: () => new Promise(() => undefined) };
  const streams = new Streams();
  const progress = new Stream(incoming, new AbortController().signal);
  streams.register("n", "p", progress);
  const controller = new AbortController();
  const transfers: Pick<Transfers, "transfer"> = {
    async transfer(_source, _destination, { report, signal }) {
      for (let n = 0; n < 1000; n++) report({ event: `step ${n}` });
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      signal.throwIfAborted();
      return true;
    },
  };
  const service = transferService({ transfers, streams } as unknown as TransferParts);
  const metadata = new Metadata();
  metadata.set("containerd-namespace", "n");
  const store = { type_url: "containerd.types.transfer.ImageStore", value: types.ImageStore.encode({}).finish() };
  const request = { source: store, destination: store, options: { progressStream: "p" } };
  const call = Promise.resolve(
    service.Transfer?.(
      TransferRequest.decode(TransferRequest.encode(request).finish()),
      new CallContext(metadata, controller.signal),
    ),
  ).catch((error: Error) => error.message);
  await Bun.sleep(10);
  controller.abort();
  expect(await Promise.race([call, Bun.sleep(1_000).then(() => "hangs")])).toBe("context canceled");
  expect(progress.isClosed).toBe(true);
});
