/** The Events service. */

import { ContainerdError } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Exchange, Sent } from "../event/exchange.ts";
import type { CallContext } from "./context.ts";
import { batched } from "./repeated.ts";
import { required } from "./required.ts";
import type { EncodedBatch, Handlers } from "./server.ts";

export function eventsService(exchange: Exchange): Handlers<"containerd.services.events.v1.Events"> {
  return {
    Publish({ topic, event }, context) {
      exchange.publish(
        namespaceOf(context),
        topic,
        event ? { name: event.type_url ?? "", value: event.value ?? new Uint8Array(0) } : undefined,
      );
      return {};
    },
    Forward({ envelope }) {
      exchange.forward(required(envelope, "envelope"));
      return {};
    },
    Subscribe({ filters }, { signal }) {
      try {
        return encoded(exchange.subscribeBatches(filters, signal));
      } catch (error) {
        // containerd gives this one error on without its class.
        if (!(error instanceof ContainerdError) || error.code !== Code.InvalidArgument) throw error;
        throw new ContainerdError(Code.Unknown, `subscription error: ${error.message}`);
      }
    },
  };
}

async function* encoded(batches: AsyncIterable<readonly Sent[]>): AsyncGenerator<EncodedBatch> {
  for await (const batch of batches) yield* batched(batch.map(({ bytes }) => bytes));
}

function namespaceOf(context: CallContext): string {
  try {
    return context.namespace;
  } catch (error) {
    if (!(error instanceof ContainerdError)) throw error;
    throw new ContainerdError(error.code, `failed publishing event: ${error.message}`);
  }
}
