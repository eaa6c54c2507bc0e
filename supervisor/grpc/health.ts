/** The health check that gRPC clients know. */

import { notFound } from "../../proto/errdefs.ts";
import { grpc } from "../../proto/gen/supervisor.js";
import type { Handlers } from "./server.ts";

const { SERVING, SERVICE_UNKNOWN } = grpc.health.v1.HealthCheckResponse.ServingStatus;

/** Answers for the daemon as a whole, which serves from the moment on at which it answers at all. */
export function healthService(): Handlers<"grpc.health.v1.Health"> {
  return {
    Check({ service }) {
      if (service !== "") throw notFound("unknown service");
      return { status: SERVING };
    },
    async *Watch({ service }, { signal }) {
      yield { status: service === "" ? SERVING : SERVICE_UNKNOWN };
      if (signal.aborted) return;
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    },
  };
}
