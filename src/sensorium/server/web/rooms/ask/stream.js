// Reading an answer while it is written: server-sent events as the body of a POST, which EventSource cannot send.

import { ApiError, request } from "../../lib/api.js";

/** @typedef {{ kind: string, data: any }} StreamEvent */

/** @param {string} block lines of one event @returns {StreamEvent | null} null for a comment */
function parse(block) {
  let kind = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) kind = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return data.length ? { kind, data: JSON.parse(data.join("\n")) } : null;
}

/**
 * The events of an answer. Throws ApiError, or the AbortError of `signal`.
 * @param {string} path @param {unknown} body @param {AbortSignal} signal
 * @returns {AsyncGenerator<StreamEvent, void, void>}
 */
export async function* stream(path, body, signal) {
  const response = await request("POST", path, { body, signal });
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let waiting = "";
  while (true) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (signal.aborted) throw error;
      throw new ApiError("network", 0, String(error));
    }
    if (part.done) return;
    waiting = (waiting + decoder.decode(part.value, { stream: true })).replaceAll("\r\n", "\n");
    const blocks = waiting.split("\n\n");
    waiting = /** @type {string} */ (blocks.pop());
    for (const block of blocks) {
      const event = parse(block);
      if (event) yield event;
    }
  }
}
