/** IP addresses. Not by node:net, which costs a hook 20 ms of CPU to load. */

const byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const pattern4 = new RegExp(`^${byte}(?:\\.${byte}){3}$`);

/** The family of an address; 0 for what is none. A zone is not part of an address. */
export function isIP(text: string): 0 | 4 | 6 {
  if (pattern4.test(text)) return 4;
  if (!text.includes(":") || !/^[0-9a-fA-F:.]{2,45}$/.test(text)) return 0;
  return URL.canParse(`http://[${text}]`) ? 6 : 0;
}
