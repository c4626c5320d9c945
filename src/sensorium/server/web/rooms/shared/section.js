// A titled part of a room that has several.

import { html } from "../../vendor/preact.js";

/** @param {{ id: string, title: string, text?: string, children?: any, actions?: any }} properties */
export function Section({ id, title, text, children, actions }) {
  return html`<section class="part" id=${id} aria-labelledby=${`${id}-title`}>
    <header class="part-head"><h2 id=${`${id}-title`}>${title}</h2>${actions && html`<div class="room-actions">${actions}</div>`}</header>
    ${text && html`<p class="room-text">${text}</p>`}
    ${children}
  </section>`;
}
