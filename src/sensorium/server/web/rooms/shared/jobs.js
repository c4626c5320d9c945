// Long work of the server, as every room sees it.

import { computed, signal } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { on } from "../../lib/events.js";
import { attempt } from "./live.js";

/** @import { Progress } from "./types.js" */

const PATIENCE = 60_000; // milliseconds that work has to end in
const PAUSE = 300;

/** @type {import("../../vendor/preact.js").Signal<ReadonlyMap<string, Progress>>} */
const jobs = signal(new Map());

/** Work that has not ended, oldest first. */
export const running = computed(() => [...jobs.value.values()].filter(isRunning));

/** @param {Progress} job */
const isRunning = (job) => job.state === "running";

/** Takes over what is said about a job. Short work may have ended before the answer to its start arrives. @param {Progress} job */
export function keep(job) {
  const known = jobs.peek().get(job.id);
  if (known && !isRunning(known) && isRunning(job)) return;
  jobs.value = new Map(jobs.peek()).set(job.id, job);
}

/** The latest work of a kind, ended or not. @param {string} kind @returns {Progress | null} */
export function latest(kind) {
  const all = [...jobs.value.values()].filter((job) => job.kind === kind);
  return all.toSorted((one, other) => one.started_at.localeCompare(other.started_at)).at(-1) ?? null;
}

/** @param {string} kind */
export const isBusy = (kind) => running.value.some((job) => job.kind === kind);

/** Asks what is under way: when the page opens and when its connection came back. */
export async function refreshJobs() {
  const { jobs: all } = await api.get("/jobs");
  const gone = [...jobs.peek().keys()].filter((id) => !all.some((/** @type {Progress} */ job) => job.id === id));
  jobs.value = new Map([...jobs.peek()].filter(([id]) => !gone.includes(id)));
  all.forEach(keep);
}

/**
 * Starts work; a refusal is shown.
 * @param {string} kind @param {Record<string, unknown>} [options]
 * @returns {Promise<boolean>} whether it started
 */
export const start = (kind, options = {}) => attempt(async () => keep(await api.post("/jobs", { kind, ...options })));

/** Ends work early; what it did until then is kept. @param {Progress} job */
export function cancel(job) {
  keep({ ...job, cancelling: true });
  return attempt(() => api.del(`/jobs/${job.id}`));
}

/**
 * Ends all work and waits until it has ended: for what must have the library to itself.
 * Work that does not end in time is left to the server's own refusal.
 */
async function silence() {
  await refreshJobs();
  await Promise.all(running.peek().map(cancel));
  const until = Date.now() + PATIENCE;
  while (running.peek().length && Date.now() < until) {
    await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
    await refreshJobs();
  }
}

/** Starts work that must have the library to itself: what is under way is ended first. @param {string} kind @param {Record<string, unknown>} [options] */
export const startAlone = async (kind, options = {}) => await attempt(silence) && start(kind, options);

on("job", keep);
