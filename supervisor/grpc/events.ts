/** The Events service. */

import type { Exchange } from "../event/exchange.ts";
import { required } from "./required.ts";
import type { Handlers } from "./server.ts";

export function eventsService(exchange: Exchange): Handlers<"containerd.services.events.v1.Events"> {
  return {
    Publish({ topic, event }, { namespace }) {
      exchange.publish(namespace, topic, { name: event?.type_url ?? "", value: event?.value ?? new Uint8Array(0) });
      return {};
    },
    Forward({ envelope }) {
      exchange.forward(required(envelope, "envelope"));
      return {};
    },
    Subscribe: ({ filters }, { signal }) => exchange.subscribe(filters, signal),
  };
}
