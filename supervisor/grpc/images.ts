/** The Images service. */

import { invalidArgument } from "../../proto/errdefs.ts";
import type { Images } from "../store/images.ts";
import { repeated } from "./repeated.ts";
import type { Handlers } from "./server.ts";

/** Number of `image` and of `images` in the responses. */
const IMAGE = 1;

/** @param collector waited for by a delete that asks for it */
export function imagesService(
  images: Images,
  collector: { collect(): Promise<unknown> },
): Handlers<"containerd.services.images.v1.Images"> {
  return {
    Get: ({ name }, { namespace }) => repeated(IMAGE, [images.record(namespace, name)]),
    List: ({ filters }, { namespace }) => repeated(IMAGE, images.records(namespace, filters)),
    async Create({ image, sourceDateEpoch }, { namespace, lease }) {
      return { image: await images.create(namespace, named(image), { lease, epoch: sourceDateEpoch }) };
    },
    async Update({ image, updateMask, sourceDateEpoch }, { namespace, lease }) {
      const change = { lease, epoch: sourceDateEpoch };
      return { image: await images.update(namespace, named(image), updateMask?.paths ?? [], change) };
    },
    async Delete({ name, sync, target }, { namespace, lease }) {
      await images.delete(namespace, name, { lease, target: target?.digest ?? "" });
      if (sync) await collector.collect();
      return {};
    },
  };
}

function named<T extends { name?: string | null }>(image: T | null | undefined): T {
  if (!image?.name) throw invalidArgument("Image.Name required");
  return image;
}
