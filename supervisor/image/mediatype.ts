/** Media types of what images are made of (core/images/mediatypes.go). */

export const mediaTypes = {
  dockerLayer: "application/vnd.docker.image.rootfs.diff.tar",
  dockerLayerGzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  dockerLayerZstd: "application/vnd.docker.image.rootfs.diff.tar.zstd",
  dockerForeignLayer: "application/vnd.docker.image.rootfs.foreign.diff.tar",
  dockerForeignLayerGzip: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerIndex: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerSchema1: "application/vnd.docker.distribution.manifest.v1+prettyjws",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  checkpoint: "application/vnd.containerd.container.criu.checkpoint.criu.tar",
  checkpointConfig: "application/vnd.containerd.container.checkpoint.config.v1+proto",
} as const;

const dockerLayers: ReadonlySet<string> = new Set([
  mediaTypes.dockerLayer,
  mediaTypes.dockerLayerGzip,
  mediaTypes.dockerLayerZstd,
  mediaTypes.dockerForeignLayer,
  mediaTypes.dockerForeignLayerGzip,
  "application/vnd.erofs.layer.v1",
]);

export function isManifest(type: string): boolean {
  return type === mediaTypes.dockerManifest || type === mediaTypes.ociManifest;
}

export function isIndex(type: string): boolean {
  return type === mediaTypes.dockerIndex || type === mediaTypes.ociIndex;
}

/** True for the configuration of an image. */
export function isConfig(type: string): boolean {
  return type === mediaTypes.dockerConfig || type === mediaTypes.ociConfig;
}

/** True for a configuration of an image or of a checkpoint. */
export function isKnownConfig(type: string): boolean {
  return isConfig(type) || type === mediaTypes.checkpoint || type === mediaTypes.checkpointConfig;
}

export function isLayer(type: string): boolean {
  return type.startsWith("application/vnd.oci.image.layer.") || dockerLayers.has(type.split("+", 1)[0] ?? "");
}

/** True for layers that must not be given to others, such as those of Windows. */
export function isNonDistributable(type: string): boolean {
  return (
    type.startsWith("application/vnd.oci.image.layer.nondistributable.") ||
    type.startsWith("application/vnd.docker.image.rootfs.foreign.")
  );
}
