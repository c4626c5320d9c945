// The photo that is asked about, with what the answer points at and where the model looked.

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { media, thumbnail } from "../../lib/api.js";
import { t } from "../../lib/i18n.js";
import { card, cardsVersion } from "../../lib/store.js";
import { Button } from "../../parts/button.js";
import { OneOf } from "../cut/controls.js";

/** @import { AskBox, AskLook } from "../shared/types.js" */
/** @import { Talk } from "./talk.js" */

/** Seen on every photo, and apart from one another; as `skills/answer/boxes.py` draws them. */
const COLOURS = ["#e6194b", "#2c8c3a", "#4363d8", "#b85a12", "#911eb4", "#00707a", "#8a5a1c", "#b9189f"];
/** Dark blue, blue, green, yellow, red: what is looked at most is warmest. */
const RAMP = [[20, 24, 82], [33, 102, 172], [60, 179, 113], [253, 212, 62], [214, 47, 39]];

/** @param {number} value @param {number} whole */
const share = (value, whole) => `${(value / whole) * 100}%`;

/** @param {readonly AskBox[]} boxes @param {number} width @param {number} height */
const drawBoxes = (boxes, width, height) => boxes.map(({ box: [left, top, right, bottom], label }, index) => html`
  <div key=${index} class="ask-box" style=${{ left: share(left, width), top: share(top, height), width: share(right - left, width),
    height: share(bottom - top, height), "--colour": COLOURS[index % COLOURS.length] }}>
    <span class=${top / height < 0.08 ? "ask-box-label ask-box-label-in" : "ask-box-label"}>${label || index + 1}</span></div>`);

/** A map of what was looked at, over the part of the photo that it covers. @param {{ look: AskLook, width: number, height: number }} properties */
function LookMap({ look, width, height }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    const values = Uint8Array.from(atob(look.map), (letter) => letter.charCodeAt(0));
    const pixels = context.createImageData(look.columns, look.rows);
    values.forEach((value, at) => {
      const place = (value / 255) * (RAMP.length - 1);
      const low = Math.min(RAMP.length - 2, Math.floor(place));
      RAMP[low].forEach((from, channel) => { pixels.data[at * 4 + channel] = from + (RAMP[low + 1][channel] - from) * (place - low); });
      pixels.data[at * 4 + 3] = 255;
    });
    context.putImageData(pixels, 0, 0);
  }, [look]);
  const [left, top, right, bottom] = look.covers;
  return html`<canvas ref=${canvas} class="ask-look" width=${look.columns} height=${look.rows} aria-hidden="true"
    style=${{ left: share(left, width), top: share(top, height), width: share(right - left, width), height: share(bottom - top, height) }}></canvas>`;
}

/** @param {AskLook} look */
const lookName = (look) => t(`ask.part_${look.part}`, { layer: look.layer });

/** The map that is drawn first: the middle one of the answer, since a decoder's last layers look at words. @param {readonly AskLook[]} looks */
function telling(looks) {
  const answers = looks.flatMap((look, at) => (look.part === "answer" ? [at] : []));
  return answers[Math.floor(answers.length / 2)] ?? looks.length - 1;
}

/** Which layer's map is drawn; what the colours mean. @param {{ talk: Talk, looks: readonly AskLook[] | null, layer: number, setLayer: (layer: number) => void }} properties */
function Layers({ talk, looks, layer, setLayer }) {
  if (!talk.looking.value || talk.busy.value || !talk.active.value) return null;
  if (talk.fetching.value) return html`<p class="ask-note" role="status">${t("ask.looks_coming")}</p>`;
  if (!looks) return null;
  if (!looks.length) return html`<p class="ask-note" role="status">${t("ask.looks_none", { model: talk.model.value?.model ?? "" })}</p>`;
  return html`<div class="ask-layers">
    <${OneOf} name="ask-layer" label=${t("ask.layers")} value=${layer} choose=${setLayer}
      options=${looks.map((look, value) => ({ value, label: lookName(look) }))} />
    <p class="ask-scale"><span>${t("ask.little")}</span><i></i><span>${t("ask.much")}</span></p>
  </div>`;
}

/** @param {{ talk: Talk, id: number, index: number, shownId: number, show: (id: number) => void }} properties */
function Thumb({ talk, id, index, shownId, show }) {
  return html`<button type="button" class="ask-thumb" aria-pressed=${String(id === shownId)} onClick=${() => show(id)}
    aria-label=${t("ask.photo_of", { index: index + 1, count: talk.ids.length })}><img src=${thumbnail(id, 240, card(id)?.version)} alt="" /></button>`;
}

/** @param {{ talk: Talk, shownId: number, show: (id: number) => void }} properties */
export function Stage({ talk, shownId, show }) {
  void cardsVersion.value;
  const known = card(shownId);
  const exchange = talk.active.value;
  const answer = exchange?.answer ?? null;
  const here = answer?.photo === shownId;
  const frame = here ? answer.frame : null;
  const looks = here ? exchange?.looks ?? null : null;
  const [layer, setLayer] = useState(-1);
  const [failed, setFailed] = useState(false);
  const width = frame?.width ?? (known?.width || 1);
  const height = frame?.height ?? (known?.height || 1);
  const at = looks?.length ? (layer >= 0 && layer < looks.length ? layer : telling(looks)) : 0;
  const look = talk.looking.value && !talk.fetching.value ? looks?.[at] : null;
  useEffect(() => { setFailed(false); }, [shownId]);
  const name = frame?.name ?? known?.name ?? "";
  return html`<section class="ask-side" aria-label=${t("ask.photo")}>
    <div class="ask-stage" style=${{ "--ratio": width / height }}>
      ${known && html`<div class=${look ? "ask-picture ask-picture-looked" : "ask-picture"}>
        ${known.kind === "video" && !frame
          ? html`<video class="ask-image" controls preload="metadata" playsinline src=${media(shownId)} poster=${thumbnail(shownId, 1600, known.version)} aria-label=${name}></video>`
          : html`<img class="ask-image" src=${frame?.image ?? thumbnail(shownId, 1600, known.version)} alt=${name} draggable=${false} onError=${() => setFailed(true)} />`}
        ${look && html`<${LookMap} look=${look} width=${width} height=${height} />`}
        ${here && answer && drawBoxes(answer.boxes, width, height)}
        ${failed && html`<p class="ask-note ask-broken" role="status">${t("ask.not_shown")}</p>`}
      </div>`}
    </div>
    <div class="ask-below">
      ${frame && html`<p class="ask-note">${t("ask.frame", { name: frame.name })}</p>`}
      ${talk.ids.length > 1 && html`<div class="ask-thumbs" role="group" aria-label=${t("ask.photos")}>
        ${talk.ids.map((id, index) => html`<${Thumb} key=${id} talk=${talk} id=${id} index=${index} shownId=${shownId} show=${show} />`)}</div>`}
      <${Layers} talk=${talk} looks=${here ? looks : exchange?.looks ?? null} layer=${at} setLayer=${setLayer} />
    </div>
  </section>`;
}

/** The switch for it. @param {{ talk: Talk }} properties */
export const LooksSwitch = ({ talk }) => html`<${Button} icon="eye" kind="quiet" label=${t("ask.looks")} pressed=${talk.looking.value} onClick=${talk.toggleLooks} title=${t("ask.looks_how")}>${t("ask.looks")}<//>`;
