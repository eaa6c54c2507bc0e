/** The sandbox Controller service (plugins/services/sandbox): decodes, calls the controller that was named, encodes. */

import { invalidArgument, notFound, notImplemented, unknown } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { now } from "../event/exchange.ts";
import type { Publisher } from "../event/publisher.ts";
import { validateIdentifier } from "../store/identifier.ts";
import { never } from "../task/exit.ts";
import type { Sandboxes } from "../task/sandbox.ts";
import type { CallContext } from "./context.ts";
import type { Handlers } from "./server.ts";

const { SandboxCreate, SandboxStart, SandboxExit } = containerd.events;
const nothing = {};
/** A time that a shim does not tell: for what it says itself, containerd has this, and not its zero time. */
const epoch = {};

/**
 * The controller of shims that run sandboxes, under the name `shim`. containerd's other one, `podsandbox`, belongs to its
 * Kubernetes part; here it has no pods, and says so in its words.
 */
export function sandboxControllerService(
  sandboxes: Sandboxes,
  publisher: Publisher,
): Handlers<"containerd.services.sandbox.v1.Controller"> {
  return {
    async Create(request, context) {
      const { sandboxId, sandboxer, rootfs, options, netnsPath, annotations, sandbox } = request;
      if (isPods(sandboxer)) throw notFound(`failed to get sandbox ${JSON.stringify(sandboxId)} metadata: not found`);
      validateIdentifier(sandboxId, `invalid task id ${sandboxId}: `);
      const wanted = {
        runtime: sandbox?.runtime?.name || "io.containerd.runc.v2",
        runtimeOptions: sandbox?.runtime?.options ?? undefined,
        spec: sandbox?.spec?.value ?? undefined,
        rootfs: [...rootfs],
        options: options ?? undefined,
        netnsPath,
        annotations,
      };
      await sandboxes.create(context.namespace, sandboxId, wanted, context.signal);
      tell(publisher, context, "create", SandboxCreate.encode({ sandboxId }).finish());
      return { sandboxId };
    },
    async Start({ sandboxId, sandboxer }, context) {
      if (isPods(sandboxer)) {
        throw notFound(`unable to find pod sandbox with id ${JSON.stringify(sandboxId)}: not found`);
      }
      const { pid, createdAt, address, version, spec } = await sandboxes.start(context.namespace, sandboxId);
      tell(publisher, context, "start", SandboxStart.encode({ sandboxId }).finish());
      const started = { sandboxId, pid, createdAt: createdAt ?? epoch, address, version };
      return spec ? { ...started, spec } : started;
    },
    Platform() {
      throw notImplemented("method Platform not implemented");
    },
    async Stop({ sandboxId, sandboxer, timeoutSecs }, context) {
      if (isPods(sandboxer)) throw notFound("not found");
      await sandboxes.stop(context.namespace, sandboxId, timeoutSecs);
      return nothing;
    },
    async Wait({ sandboxId, sandboxer }, context) {
      if (isPods(sandboxer)) throw unknown(`failed to get exit channel. ${JSON.stringify(sandboxId)}`);
      const { exitStatus, exitedAt } = await sandboxes.wait(context.namespace, sandboxId, context.signal);
      const end = { exitStatus, exitedAt: exitedAt ?? epoch };
      tell(publisher, context, "exit", SandboxExit.encode({ sandboxId, ...end }).finish());
      return end;
    },
    async Status({ sandboxId, sandboxer, verbose }, context) {
      if (isPods(sandboxer)) throw notFound(`unable to find sandbox ${JSON.stringify(sandboxId)}: not found`);
      const found = await sandboxes.status(context.namespace, sandboxId, verbose);
      if (found === undefined) return { sandboxId, createdAt: never, exitedAt: now(), extra: {} };
      const { address, version, status } = found;
      const { pid, state, info, createdAt, exitedAt, extra } = status;
      const times = { createdAt: createdAt ?? epoch, exitedAt: exitedAt ?? epoch };
      return { sandboxId: status.sandboxId, pid, state, info, ...times, extra: extra ?? {}, address, version };
    },
    async Shutdown({ sandboxId, sandboxer }, context) {
      if (!isPods(sandboxer)) await sandboxes.shutdown(context.namespace, sandboxId);
      return nothing;
    },
    async Metrics({ sandboxId, sandboxer }, context) {
      if (isPods(sandboxer)) throw notImplemented("not implemented");
      const metrics = await sandboxes.metrics(context.namespace, sandboxId);
      return metrics ? { metrics } : nothing;
    },
    Update({ sandboxer }) {
      // Neither of containerd's controllers does anything here.
      isPods(sandboxer);
      return nothing;
    },
  };
}

/** Whether the controller of pods is meant, and not that of shims. @throws ContainerdError for any other */
function isPods(sandboxer: string): boolean {
  if (sandboxer === "") throw invalidArgument("invalid argument: sandbox controller name can not be empty");
  if (sandboxer !== "shim" && sandboxer !== "podsandbox") {
    throw notFound(`not found: failed to get sandbox controller by ${sandboxer}`);
  }
  return sandboxer === "podsandbox";
}

function tell(publisher: Publisher, context: CallContext, verb: "create" | "start" | "exit", value: Uint8Array): void {
  const name = { create: "SandboxCreate", start: "SandboxStart", exit: "SandboxExit" }[verb];
  publisher.publish(context.namespace, `/sandboxes/${verb}`, { name: `containerd.events.${name}`, value });
}
