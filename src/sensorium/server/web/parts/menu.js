import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { Button } from "./button.js";
import { Icon } from "./icon.js";

/** @import { IconName } from "../vendor/icons.js" */
/** @typedef {{ label: string, icon?: IconName, run: () => void, checked?: boolean, danger?: boolean }} MenuItem */

/**
 * A button that opens a list of commands: arrows move, Enter chooses, Escape closes.
 * @param {{ label: string, icon: IconName, items: (MenuItem | null | false)[], children?: any, kind?: string }} properties
 */
export function Menu({ label, icon, items, children, kind = "quiet" }) {
  const [open, setOpen] = useState(false);
  const [side, setSide] = useState("");
  const root = useRef(/** @type {HTMLDivElement | null} */ (null));
  useEffect(() => {
    if (!open) return undefined;
    root.current?.querySelector(/** @type {"button"} */ ("[role^=menuitem]"))?.focus();
    const outside = (/** @type {Event} */ event) => {
      if (!(event.target instanceof Node && root.current?.contains(event.target))) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [open]);
  // It opens towards the side of the window where there is room.
  const toggle = () => {
    const box = root.current?.getBoundingClientRect();
    if (box) setSide(`${box.left + box.width / 2 < innerWidth / 2 ? "rightwards" : ""} ${box.bottom > innerHeight * 0.7 ? "upwards" : ""}`);
    setOpen(!open);
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    if (!open) return;
    const all = /** @type {HTMLElement[]} */ ([...root.current?.querySelectorAll("[role^=menuitem]") ?? []]);
    const now = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) all[(now + step + all.length) % all.length]?.focus();
    else if (event.key === "Escape") {
      setOpen(false);
      root.current?.querySelector("button")?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const shown = /** @type {MenuItem[]} */ (items.filter(Boolean));
  return html`<div class="menu" ref=${root} onKeyDown=${keys}>
    <${Button} icon=${icon} kind=${kind} label=${label} aria-haspopup="menu" aria-expanded=${String(open)}
      onClick=${toggle}>${children}<//>
    ${open && html`<div class=${`menu-list ${side}`} role="menu" aria-label=${label}>
      ${shown.map((item) => html`<button type="button" class=${item.danger ? "menu-item danger" : "menu-item"}
          role=${item.checked === undefined ? "menuitem" : "menuitemradio"}
          aria-checked=${item.checked === undefined ? undefined : String(item.checked)} tabindex="-1"
          onClick=${() => { setOpen(false); item.run(); }}>
        ${item.icon && html`<${Icon} name=${item.icon} size=${18} />`}<span>${item.label}</span>
        ${item.checked && html`<${Icon} name="check" size=${16} />`}</button>`)}
    </div>`}
  </div>`;
}
