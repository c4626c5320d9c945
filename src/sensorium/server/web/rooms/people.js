// Everyone on the photos: people and pets with a name, and faces that wait for one.

import { html, useState } from "../vendor/preact.js";
import { api, may } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { Button } from "../parts/button.js";
import { Empty } from "../parts/states.js";
import { isBusy, start } from "./shared/jobs.js";
import { pending, useLive } from "./shared/live.js";
import { MissingModel } from "./shared/note.js";
import { PersonCard } from "./people/card.js";
import { OnePerson } from "./people/one.js";

/** @import { Loaded } from "../lib/load.js" */
/** @import { People, Person } from "./shared/types.js" */

const FIRST = 48; // unnamed groups that are shown before "show more": the large ones come first

/** @param {readonly Person[]} people */
const byPhotos = (people) => people.toSorted((one, other) => other.photos - one.photos || one.id - other.id);

/** Those in sight and those hidden. @param {AbortSignal} signal @returns {Promise<People>} */
async function everyone(signal) {
  const [seen, hidden] = await Promise.all([api.get("/people", { signal }), api.get("/people?hidden=1", { signal })]);
  const known = new Map([...seen.people, ...hidden.people].map((/** @type {Person} */ one) => [one.id, one]));
  return { ...seen, people: [...known.values()] };
}

/** @param {{ busy: boolean }} properties */
const FindFaces = ({ busy }) => may("admin") && html`<${Button} icon="scan-face" busy=${busy}
  onClick=${() => start("describe", { passes: ["faces"] })}>${t("people.find")}<//>`;

/** @param {{ people: Loaded<People> }} properties */
function Everyone({ people }) {
  const { people: all, faces_ready: ready, needs } = /** @type {People} */ (people.data);
  const [hidden, setHidden] = useState(false);
  const [shown, setShown] = useState(FIRST);
  const seen = byPhotos(all.filter((one) => hidden || !one.hidden));
  const named = seen.filter((one) => one.name !== null);
  const unnamed = seen.filter((one) => one.name === null);
  const out = all.filter((one) => one.hidden).length;
  const busy = isBusy("describe");
  /** @param {readonly Person[]} list */
  const cards = (list) => html`<ul class="people">${list.map((one) =>
    html`<${PersonCard} key=${one.id} person=${one} all=${all} changed=${people.reload} />`)}</ul>`;
  return html`<div class="room">
    <header class="room-head"><h1 class="room-title">${t("nav.people")}</h1>
      ${out > 0 && html`<${Button} kind="quiet" icon=${hidden ? "eye" : "eye-off"} pressed=${hidden} onClick=${() => setHidden(!hidden)}>
        ${t("people.show_hidden", { count: out })}<//>`}
      ${ready && all.length > 0 && html`<${FindFaces} busy=${busy} />`}
    </header>
    ${!ready && html`<${MissingModel} text=${t("people.no_models")} needs=${needs} />`}
    ${!all.length && html`<${Empty} icon="users" title=${t("people.empty")} text=${t(ready ? "people.how" : "people.how_models")}>
      ${ready && html`<${FindFaces} busy=${busy} />`}<//>`}
    <datalist id="people-names">${named.map((one) => html`<option key=${one.id} value=${one.name} />`)}</datalist>
    ${named.length > 0 && cards(named)}
    ${unnamed.length > 0 && html`<h2 class="room-part">${t("people.waiting")}</h2><p class="room-text">${t("people.waiting_text")}</p>
      ${cards(unnamed.slice(0, shown))}
      ${unnamed.length > shown && html`<p class="room-more"><${Button} icon="chevron-down" onClick=${() => setShown(shown * 3)}>
        ${t("people.more_faces", { count: unnamed.length - shown })}<//></p>`}`}
  </div>`;
}

/** The room: everyone, or with an id one person. @param {{ route: import("../lib/router.js").Route }} properties */
export default function PeopleRoom({ route }) {
  const people = useLive(everyone);
  const id = route.parts[1];
  const wait = pending(people);
  if (wait) return html`<div class="room"><h1 class="room-title">${t("nav.people")}</h1>${wait}</div>`;
  if (id === undefined) return html`<${Everyone} people=${people} />`;
  return html`<${OnePerson} key=${id} id=${Number(id)} people=${people} faces=${route.query.has("faces")} />`;
}
