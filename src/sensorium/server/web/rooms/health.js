// Is everything well? What is offline, what failed, backups, checks, the space it takes.

import { html } from "../vendor/preact.js";
import { api, may } from "../lib/api.js";
import { bytes, number, t } from "../lib/i18n.js";
import { Icon } from "../parts/icon.js";
import { Backups } from "./health/backups.js";
import { Checks } from "./health/checks.js";
import { FailedFiles, UndescribedFiles } from "./health/failures.js";
import { Offline } from "./health/offline.js";
import { Passes } from "./health/passes.js";
import { Space } from "./health/space.js";
import { pending, useLive } from "./shared/live.js";

/** @import { Failures, Status } from "./shared/types.js" */

/** @param {{ icon: string, value: string, label: string, href?: string, kind?: "good" | "warning" }} properties */
function Figure({ icon, value, label, href, kind }) {
  const inside = html`<${Icon} name=${icon} size=${18} /><span class="figure-value">${value}</span><span class="figure-label">${label}</span>`;
  return html`<li class=${`figure ${kind ? `figure-${kind}` : ""}`}>${href ? html`<a href=${href}>${inside}</a>` : inside}</li>`;
}

/** @param {{ status: Status }} properties */
function Figures({ status }) {
  const due = status.photos - status.embedded;
  return html`<ul class="key-figures">
    <${Figure} icon="images" value=${number(status.photos)} label=${t("health.photos", { count: status.photos })} />
    <${Figure} icon=${due > 0 ? "loader-circle" : "circle-check"} kind=${due > 0 ? "warning" : "good"}
      value=${due > 0 ? number(due) : "✓"} label=${t(due > 0 ? "health.due" : "health.searchable", { count: due })} />
    <${Figure} icon="unplug" kind=${status.offline ? "warning" : "good"} value=${number(status.offline)} label=${t("health.offline_count", { count: status.offline })} />
    <${Figure} icon="file-warning" kind=${status.failed ? "warning" : "good"} value=${number(status.failed)} label=${t("health.failed_count", { count: status.failed })} />
    <${Figure} icon="hard-drive" value=${bytes(status.disk_free)} label=${t("health.free")} />
  </ul>`;
}

/** The room. */
export default function HealthRoom() {
  const status = useLive((signal) => /** @type {Promise<Status>} */ (api.get("/status", { signal })));
  const failures = useLive((signal) => /** @type {Promise<Failures>} */ (api.get("/failures?limit=1000", { signal })));
  const wait = pending(status);
  const title = html`<h1 class="room-title">${t("nav.health")}</h1>`;
  if (wait || !status.data) return html`<div class="room">${title}${wait}</div>`;
  return html`<div class="room parts">${title}
    <${Figures} status=${status.data} />
    <${Offline} roots=${status.data.roots} />
    ${failures.data && html`<${FailedFiles} failures=${failures.data.failures} total=${failures.data.total} />
      <${UndescribedFiles} files=${failures.data.undescribed} />`}
    <${Passes} passes=${status.data.passes} />
    ${may("admin") && html`<${Backups} /><${Checks} />`}
    <${Space} status=${status.data} changed=${status.reload} />
  </div>`;
}
