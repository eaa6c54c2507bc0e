/** The page: one file, with nothing from anywhere else. */

import html from "./status.html" with { type: "text" };

/** The policy names style and script by their digests: nothing else runs, whatever gets into the page. */
function policy(): string {
  const hashes = (element: string): string =>
    [...(html as unknown as string).matchAll(new RegExp(`<${element}>(.*?)</${element}>`, "gs"))]
      .map(([, body = ""]) => `'sha256-${new Bun.CryptoHasher("sha256").update(body).digest("base64")}'`)
      .join(" ");
  return [
    "default-src 'none'",
    `style-src ${hashes("style")}`,
    `script-src ${hashes("script")}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}

let made: string | undefined;

/** Answers the page. */
export function page(): Response {
  made ??= policy();
  return new Response(html as unknown as string, {
    headers: { "content-type": "text/html; charset=utf-8", "content-security-policy": made },
  });
}
