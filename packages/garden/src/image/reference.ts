// Image references in their three spellings: what a user types, Diego's rootfs URL, and what skopeo is asked for. Pure.

/** Where an image is, as a rootfs URL says it. `host` is empty for the default registry. */
export interface ImageReference {
  readonly host: string;
  readonly path: string;
  readonly tag: string | undefined;
  /** `sha256:<hex>`; it decides, whatever the tag says. */
  readonly digest: string | undefined;
}

/** A reference that cannot be read. The message is Cloud Controller's where it has one, and fit for a user. */
export class ImageReferenceError extends Error {
  override readonly name = "ImageReferenceError";
}

const pathPattern = /^[a-z0-9_\-./]{2,255}$/;
const tagPattern = /^[a-zA-Z0-9_\-.]{1,128}$/;
const hashPattern = /^[a-z0-9]{64}$/;
const digestPattern = /^sha256:[a-z0-9]{64}$/;
const hostPattern = /^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_\-.]+)(:[0-9]{1,5})?$/;
const defaultHost = "registry-1.docker.io";

const isRegistry = (text: string): boolean => text.includes(".") || text.includes(":") || text === "localhost";
const isDefaultHost = (host: string): boolean => host === "" || host === "docker.io" || host === defaultHost;

/** Splits `host/path` at the first slash where what stands before it can only be a registry. */
function splitRegistry(image: string): { host: string; rest: string } {
  const slash = image.indexOf("/");
  const head = slash < 0 ? "" : image.slice(0, slash);
  return head !== "" && isRegistry(head) ? { host: head, rest: image.slice(slash + 1) } : { host: "", rest: image };
}

/** Splits `path[:tag][@sha256:hex]` as Cloud Controller does: at the first `@`, then at the first `:`. */
function splitTag(rest: string): { path: string; tag: string | undefined; digest: string | undefined } {
  const at = rest.indexOf("@");
  const name = at < 0 ? rest : rest.slice(0, at);
  const colon = name.indexOf(":");
  return {
    path: colon < 0 ? name : name.slice(0, colon),
    tag: colon < 0 ? undefined : name.slice(colon + 1),
    digest: at < 0 ? undefined : rest.slice(at + 1),
  };
}

const withLibrary = (host: string, path: string): string =>
  isDefaultHost(host) && !path.includes("/") ? `library/${path}` : path;

/**
 * Reads what a user types: `nginx:1.25`, `127.0.0.1:5000/check/app:v1`, `user/image@sha256:<hex>`.
 * @throws ImageReferenceError with Cloud Controller's texts. Source: docker-app.md section 2 (the rootfs converter).
 */
export function parseImage(image: string): ImageReference {
  if (image.includes("://")) throw new ImageReferenceError(`Docker URI [${image}] should not contain scheme`);
  const { host, rest } = splitRegistry(image);
  const { path, tag, digest } = splitTag(rest);
  if (host !== "" && !hostPattern.test(host)) throw new ImageReferenceError(`Invalid image registry [${host}]`);
  if (!pathPattern.test(path)) throw new ImageReferenceError(`Invalid image name [${path}]`);
  if (tag !== undefined && !tagPattern.test(tag)) throw new ImageReferenceError(`Invalid image tag [${tag}]`);
  if (digest !== undefined && !digestPattern.test(digest)) throw new ImageReferenceError(`Invalid image tag [${digest}]`);
  return { host, path: withLibrary(host, path), tag, digest };
}

/** The rootfs URL of a reference: `docker:///library/redis#7`, `docker:///user/image@sha256#<hex>`. Source: docker-app.md section 2. */
export function formatRootFS(reference: ImageReference): string {
  const base = `docker://${reference.host}/${reference.path}`;
  const { tag, digest } = reference;
  if (digest !== undefined && tag !== undefined) return `${base}#${tag}@${digest}`;
  if (digest !== undefined) return `${base}@sha256#${digest.slice("sha256:".length)}`;
  return tag === undefined ? base : `${base}#${tag}`;
}

/** What a user types, as a rootfs URL. @throws ImageReferenceError */
export const rootFSOfImage = (image: string): string => formatRootFS(parseImage(image));

/** Whether a rootfs URL is of the scheme `docker`. */
export const isDockerRootFS = (rootFs: string): boolean => rootFs.startsWith("docker:");

function parseFragment(path: string, fragment: string): Pick<ImageReference, "path" | "tag" | "digest"> {
  if (path.endsWith("@sha256")) {
    if (!hashPattern.test(fragment)) throw new ImageReferenceError(`Invalid image digest [${fragment}]`);
    return { path: path.slice(0, -"@sha256".length), tag: undefined, digest: `sha256:${fragment}` };
  }
  const at = fragment.indexOf("@");
  const tag = at < 0 ? fragment : fragment.slice(0, at);
  const digest = at < 0 ? undefined : fragment.slice(at + 1);
  if (tag !== "" && !tagPattern.test(tag)) throw new ImageReferenceError(`Invalid image tag [${tag}]`);
  if (digest !== undefined && !digestPattern.test(digest)) throw new ImageReferenceError(`Invalid image digest [${digest}]`);
  return { path, tag: tag === "" ? undefined : tag, digest };
}

/** Reads a rootfs URL of the scheme `docker`. @throws ImageReferenceError saying what is wrong with it. */
export function parseRootFS(rootFs: string): ImageReference {
  const match = /^docker:\/\/([^/#]*)\/([^#]+)(?:#(.*))?$/.exec(rootFs);
  if (match === null) throw new ImageReferenceError(`Rootfs [${rootFs}] is not of the form docker://host/path#tag`);
  const host = match[1] ?? "";
  const { path, tag, digest } = parseFragment(match[2] ?? "", match[3] ?? "");
  if (host !== "" && !hostPattern.test(host)) throw new ImageReferenceError(`Invalid image registry [${host}]`);
  if (!pathPattern.test(path)) throw new ImageReferenceError(`Invalid image name [${path}]`);
  return { host, path: withLibrary(host, path), tag, digest };
}

/** The same image, held to one digest (`sha256:<hex>`): what a started app is pinned to. */
export const pinRootFS = (rootFs: string, digest: string): string =>
  formatRootFS({ ...parseRootFS(rootFs), tag: undefined, digest });

/** `host:port` of the registry to ask, as registries and credentials are listed by. */
export const registryOf = (reference: ImageReference): string => (isDefaultHost(reference.host) ? "docker.io" : reference.host);

/** The reference in skopeo's words, with a tag or a digest but never both: its library refuses the two together. */
export function skopeoReference(reference: ImageReference): string {
  const name = `docker://${registryOf(reference)}/${reference.path}`;
  return reference.digest === undefined ? `${name}:${reference.tag ?? "latest"}` : `${name}@${reference.digest}`;
}

/** What to show people: name expanded with `library/`, registry left out when it is the default, the tag always present. */
export function displayImage(reference: ImageReference): string {
  const name = isDefaultHost(reference.host) ? reference.path : `${reference.host}/${reference.path}`;
  return reference.digest === undefined ? `${name}:${reference.tag ?? "latest"}` : `${name}@${reference.digest}`;
}
