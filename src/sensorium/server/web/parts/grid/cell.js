// One photo of a grid as DOM nodes that are used again for another photo when it has left the window.
// Plain DOM and no component: while scrolling, a few dozen of them change every frame.

import { thumbnail } from "../../lib/api.js";
import { date, duration, said, t } from "../../lib/i18n.js";
import { card } from "../../lib/store.js";
import { h, render } from "../../vendor/preact.js";
import { Icon } from "../icon.js";

/** @import { IconName } from "../../vendor/icons.js" */

/** @type {Map<string, SVGElement>} */
const drawn = new Map();

/** @param {IconName} name @param {number} size @param {boolean} [filled] */
function icon(name, size, filled = false) {
  const key = `${name} ${size} ${filled}`;
  let made = drawn.get(key);
  if (!made) {
    const into = document.createElement("div");
    render(h(Icon, { name, size, filled }), into);
    drawn.set(key, (made = /** @type {SVGElement} */ (into.firstElementChild)));
  }
  return made.cloneNode(true);
}

/** @param {string} tag @param {string} name @returns {any} */
function element(tag, name) {
  const made = document.createElement(tag);
  made.className = name;
  return made;
}

/**
 * The smallest thumbnail that fills a photo of this height. Rows bound the height, and so do sizes 240 and 720.
 * @param {number} tall CSS pixels
 */
function sizeFor(tall) {
  const pixels = tall * Math.min(devicePixelRatio, 3);
  return pixels <= 264 ? 240 : pixels <= 800 ? 720 : 1600; // a tenth of enlargement is not seen
}

/** The nodes of one photo. */
export class Cell {
  constructor() {
    this.index = -1;
    this.id = -1;
    /** @type {HTMLDivElement} */
    this.root = element("div", "cell");
    this.root.setAttribute("role", "listitem");
    /** @type {HTMLAnchorElement} */
    this.link = element("a", "photo");
    /** @type {HTMLImageElement} */
    this.image = element("img", "");
    this.image.alt = "";
    this.image.decoding = "async";
    this.image.draggable = false;
    this.image.addEventListener("load", () => this.image.classList.add("ready"));
    this.image.addEventListener("error", () => { if (this.image.hasAttribute("src")) this.root.classList.add("missing"); });
    /** @type {HTMLButtonElement} */
    this.tick = element("button", "tick");
    this.tick.type = "button";
    this.tick.setAttribute("role", "checkbox");
    this.tick.tabIndex = -1;
    this.tick.append(icon("check", 16));
    /** @type {HTMLSpanElement} */
    this.badges = element("span", "badges");
    /** @type {HTMLSpanElement} */
    this.caption = element("span", "why");
    this.link.append(this.image, this.badges);
    this.root.append(this.link, this.tick);
  }

  /**
   * Shows a photo of which only the place is known so far.
   * @param {number} index @param {number} id @param {number} total
   * @param {{ left: number, top: number, wide: number, tall: number }} place
   */
  take(index, id, total, place) {
    this.index = index;
    this.id = id;
    this.tall = place.tall;
    const { style } = this.root;
    style.transform = `translate(${place.left}px, ${place.top}px)`;
    style.width = `${place.wide}px`;
    style.height = `${place.tall}px`;
    this.root.setAttribute("aria-setsize", String(total));
    this.root.setAttribute("aria-posinset", String(index + 1));
    this.root.dataset.id = String(id);
    this.link.href = `/photo/${id}`;
  }

  /** Fetches the picture unless it is there. @param {string} version @param {boolean} near in the window, not beside it */
  load(version, near) {
    const wanted = thumbnail(this.id, sizeFor(this.tall ?? 0), version);
    if (this.image.getAttribute("src") === wanted) return;
    this.root.classList.remove("missing");
    this.image.classList.remove("ready");
    this.image.fetchPriority = near ? "high" : "low";
    this.image.src = wanted;
    if (this.image.complete && this.image.naturalWidth) this.image.classList.add("ready");
  }

  /** Gives the photo up; a picture that is still on its way is called off. */
  release() {
    this.image.classList.remove("ready");
    this.image.removeAttribute("src");
    this.root.classList.remove("missing", "selected");
    this.index = -1;
    this.id = -1;
  }

  /** Name, badges and caption, as far as known. @param {number} total @param {string | null} why */
  describe(total, why) {
    const known = card(this.id);
    const position = t("grid.position", { index: this.index + 1, count: total });
    const label = known
      ? [t(known.kind === "video" ? "kind.video" : "kind.photo"), date(known.taken_at), said(known.place), known.name].filter(Boolean).join(", ")
      : position;
    this.link.setAttribute("aria-label", why ? `${label}. ${why}` : label);
    this.tick.setAttribute("aria-label", t("grid.select", { name: known?.name ?? position }));
    const badges = [];
    if (known?.duration !== null && known?.duration !== undefined) {
      const length = element("span", "length");
      length.append(icon("play", 12, true), duration(known.duration));
      badges.push(length);
    }
    if (known?.offline) badges.push(icon("cloud-off", 16));
    if (known?.favourite) badges.push(icon("heart", 16, true));
    this.badges.replaceChildren(...badges);
    this.root.classList.toggle("offline", known?.offline ?? false);
    if (why !== null) {
      this.caption.textContent = why;
      this.caption.title = why;
      if (!this.caption.isConnected) this.root.append(this.caption);
    }
  }

  /** @param {boolean} selected */
  select(selected) {
    this.root.classList.toggle("selected", selected);
    this.tick.setAttribute("aria-checked", String(selected));
  }
}
