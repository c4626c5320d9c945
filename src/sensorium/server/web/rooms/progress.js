// What the server is working on: one quiet line an item, seen in every room.

import { html, useEffect } from "../vendor/preact.js";
import { may } from "../lib/api.js";
import { on } from "../lib/events.js";
import { number, t } from "../lib/i18n.js";
import { Button } from "../parts/button.js";
import { toast } from "../parts/toast.js";
import { cancel, refreshJobs, running } from "./shared/jobs.js";

/** @import { Progress } from "./shared/types.js" */

/** What ends without a word: watching begins it all day long, and its end is seen in the photos themselves. */
const QUIET = new Set(["index", "describe", "check"]);

/** Says how work ended. @param {Progress} job */
function announce(job) {
  if (job.state === "failed") {
    toast(t("progress.failed", { work: t(`job.${job.kind}`), detail: job.error?.detail ?? "" }), { kind: "error" });
  } else if (job.state === "done" && !QUIET.has(job.kind)) {
    toast(t("progress.done", { work: t(`job.${job.kind}`) }));
  } else if (job.state === "cancelled") toast(t("progress.cancelled", { work: t(`job.${job.kind}`) }));
}

/** @param {{ job: Progress }} properties */
function Work({ job }) {
  const { done, total } = job;
  const known = typeof done === "number" && typeof total === "number" && total > 0;
  const share = known ? Math.min(1, done / total) : null;
  const label = t(`job.${job.kind}`);
  return html`<li class="work">
    <span class="work-name">${label}</span>
    <span class="work-count">${job.cancelling ? t("progress.ending")
      : known ? t("progress.of", { done: number(done), total: number(total) }) : t("progress.running")}</span>
    <progress class="work-bar" aria-label=${label} max="1" value=${share ?? undefined}></progress>
    ${may("admin") && html`<${Button} kind="quiet" icon="x" label=${t("progress.cancel", { work: label })}
      disabled=${job.cancelling} onClick=${() => cancel(job)} />`}
  </li>`;
}

/** The bar; nothing while nothing is under way. */
export default function ProgressBar() {
  useEffect(() => {
    /** A view that cannot be loaded now arrives with the next event. */
    const refresh = () => void refreshJobs().catch(console.warn);
    refresh();
    const stops = [
      on("hello", refresh),
      on("job", announce),
    ];
    return () => stops.forEach((stop) => stop());
  }, []);
  if (!running.value.length) return null;
  return html`<section class="progress" aria-label=${t("progress.label")}>
    <ul>${running.value.map((job) => html`<${Work} key=${job.id} job=${job} />`)}</ul>
    <a class="progress-more" href="/health">${t("progress.more")}</a>
  </section>`;
}
