// Every request of the page goes through here: one place that adds the CSRF header, reads problem+json and
// tells a network that is gone from an answer that says no.

import { signal } from "../vendor/preact.js";
import { has, t } from "./i18n.js";

/** @import { Session, Role, ProblemDocument } from "./types.js" */

const BASE = "/api/v1";
const UNSAFE = new Set(["POST", "PATCH", "PUT", "DELETE"]);
const RANK = { view: 0, edit: 1, admin: 2 };

/** Who is using the page; null until the first answer. */
export const session = signal(/** @type {Session | null} */ (null));

/** A refusal of the server, or no answer at all (code "network"). `message` is in the language of the page. */
export class ApiError extends Error {
  /**
   * @param {string} code stable word of the problem document
   * @param {number} status HTTP status; 0 without an answer
   * @param {string} detail the server's own line
   */
  constructor(code, status, detail) {
    super(has(`error.${code}`) ? t(`error.${code}`, { detail }) : detail || t("error.unknown", { status }));
    this.name = "ApiError";
    this.code = code;
    this.status = status;
    this.detail = detail;
  }
}

/**
 * @param {Response} response
 * @returns {Promise<ApiError>}
 */
async function refusal(response) {
  /** @type {ProblemDocument} */
  let problem = {};
  if ((response.headers.get("content-type") ?? "").includes("json")) {
    problem = await response.json().catch(() => ({}));
  }
  return new ApiError(problem.code ?? `http_${response.status}`, response.status, problem.detail ?? problem.title ?? "");
}

/**
 * One request. Throws ApiError, or the AbortError of `signal`.
 * @param {string} method
 * @param {string} path below /api/v1, with a leading slash
 * @param {{ body?: unknown, signal?: AbortSignal, headers?: Record<string, string> }} [options]
 *   `body`: a FormData or Blob is sent as it is, anything else as JSON
 * @returns {Promise<Response>}
 */
export async function request(method, path, options = {}) {
  try {
    return await send(method, path, options);
  } catch (error) {
    // The secret behind the CSRF value was made anew, e.g. the server started again: ask for it and go on.
    if (!(error instanceof ApiError) || error.code !== "csrf") throw error;
    await refreshSession();
    return send(method, path, options);
  }
}

/** @type {typeof request} */
async function send(method, path, options = {}) {
  const headers = new Headers(options.headers);
  headers.set("Accept", "application/json, application/problem+json");
  if (UNSAFE.has(method) && session.peek()?.csrf) headers.set("X-Sensorium-CSRF", session.peek()?.csrf ?? "");
  /** @type {BodyInit | undefined} */
  let body;
  if (options.body instanceof FormData || options.body instanceof Blob) body = options.body;
  else if (options.body !== undefined) {
    headers.set("Content-Type", "application/json");
    body = JSON.stringify(options.body);
  }
  let response;
  try {
    response = await fetch(BASE + path, { method, headers, body, signal: options.signal, credentials: "same-origin" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("network", 0, String(error));
  }
  if (response.ok) return response;
  const error = await refusal(response);
  const current = session.peek();
  if (error.status === 401 && path !== "/session" && current && !current.needs_sign_in) {
    session.value = { ...current, signed_in: false, needs_sign_in: true, role: null };
  } else if (error.status === 401 && path !== "/session" && current?.signed_in) {
    session.value = { ...current, signed_in: false, role: null };
  }
  throw error;
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{ body?: unknown, signal?: AbortSignal, headers?: Record<string, string> }} [options]
 * @returns {Promise<any>} the JSON of the answer; null when it has no body
 */
async function json(method, path, options) {
  const response = await request(method, path, options);
  if (response.status === 204 || response.headers.get("content-length") === "0") return null;
  return response.json();
}

/** The four verbs; each gives the JSON of the answer. */
export const api = {
  /** @type {(path: string, options?: { signal?: AbortSignal }) => Promise<any>} */
  get: (path, options) => json("GET", path, options),
  /** @type {(path: string, body?: unknown, options?: { signal?: AbortSignal, headers?: Record<string, string> }) => Promise<any>} */
  post: (path, body, options) => json("POST", path, { ...options, body }),
  /** @type {(path: string, body?: unknown) => Promise<any>} */
  patch: (path, body) => json("PATCH", path, { body }),
  /** @type {(path: string, body?: unknown) => Promise<any>} */
  del: (path, body) => json("DELETE", path, { body }),
};

/**
 * A query string without the absent values.
 * @param {Record<string, string | number | boolean | null | undefined>} values
 */
export function query(values) {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    if (value !== null && value !== undefined && value !== "" && value !== false) {
      search.set(key, value === true ? "1" : String(value));
    }
  }
  const text = search.toString();
  return text ? `?${text}` : "";
}

/**
 * @param {number} id
 * @param {240 | 720 | 1600} size 240 and 720 bound the height, 1600 both sides; never upscaled
 * @param {string} [version] of the content: with it the browser keeps the picture for good
 */
export const thumbnail = (id, size, version) =>
  `${BASE}/photos/${id}/thumbnail?size=${size}${version ? `&v=${version}` : ""}`;
/** @param {number} id @param {boolean} [download] */
export const media = (id, download = false) => `${BASE}/photos/${id}/media${download ? "?download=1" : ""}`;
/** @param {number} id */
export const faceThumbnail = (id) => `${BASE}/faces/${id}/thumbnail`;

/** Asks who we are, again after signing in or out. */
export async function refreshSession() {
  try {
    session.value = await api.get("/session");
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) throw error;
    session.value = { signed_in: false, needs_sign_in: true, role: null, version: "", csrf: null };
  }
}

/** @param {Role} role @returns {boolean} may this session do what needs `role`? Reads the session signal. */
export function may(role) {
  const current = session.value;
  return current?.role ? RANK[current.role] >= RANK[role] : false;
}

/**
 * Saves the body of a POST as a file, e.g. an export.
 * @param {string} path @param {unknown} body @param {string} name
 */
export async function saveFile(path, body, name) {
  const response = await request("POST", path, { body });
  const given = /filename="?([^";]+)/.exec(response.headers.get("content-disposition") ?? "")?.[1];
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = given ?? name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
