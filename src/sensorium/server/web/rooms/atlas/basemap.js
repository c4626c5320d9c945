// The world that the map draws without a network: land and borders, and names where there is room for them.
//
// Both are made by tools/basemap.mjs and tools/towns.py and served with the page. Colours come from the style
// sheet (--map-*), so that the map follows light and dark.

import * as L from "../../vendor/leaflet.js";
import { feature, mesh } from "../../vendor/topojson.js";

/**
 * @typedef {{code?: string, name?: string, at: [number, number], room: number}} Country
 * @typedef {[number, number, string, string | null]} Town longitude, latitude, English, Chinese; largest first
 * @typedef {{countries: Country[], towns: Town[], land: any, borders: any}} World
 */

/** @type {Promise<World> | null} */
let asked = null;

/** The world, fetched once a page. A failed fetch is tried again at the next call. @returns {Promise<World>} */
export function world() {
  asked ??= Promise.all([json("world.json"), json("towns.json")]).then(([topology, towns]) => {
    const countries = topology.objects.countries;
    return {
      countries: countries.geometries.map((/** @type {any} */ shape) => shape.properties),
      towns,
      land: feature(topology, countries),
      borders: mesh(topology, countries, (one, other) => one !== other),
    };
  });
  asked.catch(() => (asked = null));
  return asked;
}

/** @param {string} name */
async function json(name) {
  const answer = await fetch(new URL(`../../vendor/basemap/${name}`, import.meta.url));
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  return answer.json();
}

/**
 * A colour of the style sheet as a canvas takes it: a custom property alone keeps its light-dark() unresolved.
 * @param {HTMLElement} element @param {string} name
 */
function colour(element, name) {
  element.style.color = `var(${name})`;
  const { color } = getComputedStyle(element);
  element.style.color = "";
  return color;
}

/**
 * Put land, borders and names on a map.
 * @param {L.Map} map @param {World} drawn @param {string} language
 * @returns {() => void} paint everything again, in the colours of now
 */
export function draw(map, drawn, language) {
  const renderer = L.canvas({ padding: 0.4 });
  const still = { renderer, interactive: false };
  const land = L.geoJSON(drawn.land, { ...still, style: { stroke: false, fillOpacity: 1 } });
  const borders = L.geoJSON(drawn.borders, { ...still, style: { weight: 1, fill: false } });
  const names = new Names(drawn, language);
  const paint = () => {
    const frame = map.getContainer();
    land.setStyle({ fillColor: colour(frame, "--map-land") });
    borders.setStyle({ color: colour(frame, "--map-border") });
    names.redraw();
  };
  land.addTo(map);
  borders.addTo(map);
  names.addTo(map);
  paint();
  return paint;
}

/** @typedef {{text: string, x: number, y: number, width: number, town: boolean}} Label */

const FIRST_TOWNS = 4; // the zoom from which towns are named
const NAMES_AT_ONCE = 90;

/** Names of countries and towns on a canvas of their own: none overlaps another, the more important one stays. */
class Names extends L.Layer {
  /** @param {World} drawn @param {string} language */
  constructor(drawn, language) {
    super();
    this.drawn = drawn;
    this.chinese = language.startsWith("zh");
    const regions = new Intl.DisplayNames([language], { type: "region" });
    /** @type {(country: Country) => string} */
    this.called = (country) => (country.code ? (regions.of(country.code) ?? "") : (country.name ?? ""));
    this.colours = { town: "", country: "" };
    this.canvas = document.createElement("canvas");
    this.canvas.className = "map-names leaflet-zoom-hide";
    this.redraw = this.redraw.bind(this);
  }

  /** @override @param {L.Map} map */
  onAdd(map) {
    this.map = map;
    map.getPane("overlayPane")?.append(this.canvas);
    map.on("moveend zoomend resize", this.redraw);
    this.redraw();
    return this;
  }

  /** @override @param {L.Map} map */
  onRemove(map) {
    map.off("moveend zoomend resize", this.redraw);
    this.canvas.remove();
    return this;
  }

  redraw() {
    const pen = this.canvas.getContext("2d");
    if (!this.map || !pen) return;
    const { x: width, y: height } = this.map.getSize();
    const sharp = window.devicePixelRatio || 1;
    this.canvas.width = width * sharp;
    this.canvas.height = height * sharp;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    L.DomUtil.setPosition(this.canvas, this.map.containerPointToLayerPoint([0, 0]));
    pen.scale(sharp, sharp);
    pen.lineJoin = "round";
    pen.lineWidth = 3;
    pen.textBaseline = "middle";
    pen.strokeStyle = colour(this.map.getContainer(), "--map-halo");
    const font = getComputedStyle(this.map.getContainer()).fontFamily;
    this.colours = { town: colour(this.map.getContainer(), "--map-town"), country: colour(this.map.getContainer(), "--map-country") };
    const fonts = { town: `12px ${font}`, country: `600 12px ${font}` };
    /** @type {Label[]} */
    const taken = [];
    for (const label of this.candidates(pen, fonts)) {
      if (taken.length >= NAMES_AT_ONCE) break;
      if (label.x > width || label.x + label.width < 0 || label.y > height || label.y < 0) continue;
      if (taken.some((other) => overlap(label, other))) continue;
      taken.push(label);
    }
    for (const label of taken) this.write(pen, label, label.town ? fonts.town : fonts.country);
  }

  /**
   * Every name that might be shown here, most important first.
   * @param {CanvasRenderingContext2D} pen @param {{town: string, country: string}} fonts
   * @returns {Generator<Label>}
   */
  *candidates(pen, fonts) {
    const map = /** @type {L.Map} */ (this.map);
    const zoom = map.getZoom();
    const bounds = map.getBounds().pad(0.1);
    const degree = (256 * 2 ** zoom) / 360; // pixels
    if (zoom < 8) {
      pen.font = fonts.country;
      for (const country of this.drawn.countries.toSorted((one, other) => other.room - one.room)) {
        const [longitude, latitude] = country.at;
        if (country.room * degree < 14 || !bounds.contains([latitude, longitude])) continue;
        const text = this.called(country);
        const width = pen.measureText(text).width;
        const { x, y } = map.latLngToContainerPoint([latitude, longitude]);
        yield { text, x: x - width / 2, y, width, town: false };
      }
    }
    if (zoom < FIRST_TOWNS) return;
    pen.font = fonts.town;
    const last = Math.min(this.drawn.towns.length, 60 * 4 ** (zoom - FIRST_TOWNS));
    for (const [longitude, latitude, english, chinese] of this.drawn.towns.slice(0, last)) {
      if (!bounds.contains([latitude, longitude])) continue;
      const text = (this.chinese && chinese) || english;
      const { x, y } = map.latLngToContainerPoint([latitude, longitude]);
      yield { text, x: x + 6, y, width: pen.measureText(text).width, town: true };
    }
  }

  /** @param {CanvasRenderingContext2D} pen @param {Label} label @param {string} font */
  write(pen, label, font) {
    pen.font = font;
    pen.fillStyle = label.town ? this.colours.town : this.colours.country;
    pen.strokeText(label.text, label.x, label.y);
    pen.fillText(label.text, label.x, label.y);
    if (!label.town) return;
    pen.beginPath();
    pen.arc(label.x - 6, label.y, 2, 0, 2 * Math.PI);
    pen.fill();
  }
}

/** @param {Label} one @param {Label} other */
function overlap(one, other) {
  const space = 6;
  return (
    Math.abs(one.y - other.y) < 16 + space &&
    one.x - 8 < other.x + other.width + space &&
    other.x - 8 < one.x + one.width + space
  );
}

/**
 * The town a point is nearest to, for saying where a group of photos is; null when the next one is far away.
 * @param {World} drawn @param {number} latitude @param {number} longitude @param {string} language
 */
export function nearest(drawn, latitude, longitude, language) {
  const narrow = Math.cos((latitude * Math.PI) / 180);
  let best = 1.5; // degrees: about 150 km
  /** @type {Town | null} */
  let found = null;
  for (const town of drawn.towns) {
    const away = Math.hypot((town[0] - longitude) * narrow, town[1] - latitude);
    if (away < best) [best, found] = [away, town];
  }
  return found && ((language.startsWith("zh") && found[3]) || found[2]);
}
