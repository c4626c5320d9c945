// A hundred thousand photos on a map: grouped by supercluster, drawn as small pictures with a count.

import * as L from "../../vendor/leaflet.js";
import Supercluster from "../../vendor/supercluster.js";

/** @typedef {{ids: number[], latitudes: number[], longitudes: number[]}} Points */
/** @typedef {{key: string, ids: number[], count: number, latitude: number, longitude: number, closer: number}} Group */

const REACH = 64; // pixels between groups
const TILE = 256; // pixels of a tile as Leaflet counts zoom
const DEEPEST = 20; // beyond the map's own zoom: photos of one spot stay one group
const LOOKED_AT = 8; // photos of a group that say where it is
const LEAVES = 5000; // photos of a group that are listed at most

/** The groups of all points, for every zoom. */
export class Groups {
  /** @param {Points} points */
  constructor(points) {
    /** @type {Supercluster<{id: number}, {}>} */
    this.index = new Supercluster({ radius: REACH, extent: TILE, maxZoom: DEEPEST });
    this.index.load(
      points.ids.map((id, at) => ({
        type: "Feature",
        properties: { id },
        geometry: { type: "Point", coordinates: [points.longitudes[at], points.latitudes[at]] },
      })),
    );
  }

  /** The groups to be seen. @param {L.LatLngBounds} bounds @param {number} zoom @returns {Group[]} */
  within(bounds, zoom) {
    const box = /** @type {[number, number, number, number]} */ ([
      Math.max(-180, bounds.getWest()),
      Math.max(-85, bounds.getSouth()),
      Math.min(180, bounds.getEast()),
      Math.min(85, bounds.getNorth()),
    ]);
    return this.index.getClusters(box, Math.round(zoom)).map((shape) => {
      const [longitude, latitude] = shape.geometry.coordinates;
      const properties = /** @type {any} */ (shape.properties);
      if (!properties.cluster) {
        return { key: `p${properties.id}`, ids: [properties.id], count: 1, latitude, longitude, closer: zoom };
      }
      const number = properties.cluster_id;
      return {
        key: `c${number}`,
        ids: this.members(number, 1),
        count: properties.point_count,
        latitude,
        longitude,
        closer: Math.min(this.index.getClusterExpansionZoom(number), 18),
      };
    });
  }

  /** The photos of a group. @param {number} number @param {number} [most] @returns {number[]} */
  members(number, most = LEAVES) {
    return this.index.getLeaves(number, most).map((leaf) => leaf.properties.id);
  }

  /** Where some photos of a group are: latitudes and longitudes. @param {Group} group @returns {[number, number][]} */
  spots(group) {
    if (group.key[0] !== "c") return [[group.latitude, group.longitude]];
    const leaves = this.index.getLeaves(Number(group.key.slice(1)), LOOKED_AT * 8);
    const step = Math.max(1, Math.floor(leaves.length / LOOKED_AT));
    return leaves.filter((_, at) => at % step === 0).map(({ geometry: { coordinates: [longitude, latitude] } }) => [latitude, longitude]);
  }

  /** All photos of a group as `within` gave it. @param {Group} group */
  photos(group) {
    return group.key[0] === "c" ? this.members(Number(group.key.slice(1))) : group.ids;
  }
}

/** The markers of the groups in sight: added, kept and removed as the map moves. */
export class Markers {
  /**
   * @param {L.Map} map @param {Groups} groups
   * @param {{thumbnail: (id: number) => string, label: (group: Group) => string, short: (count: number) => string,
   *   open: (group: Group, element: HTMLElement) => void}} look
   */
  constructor(map, groups, look) {
    this.map = map;
    this.groups = groups;
    this.look = look;
    /** @type {Map<string, L.Marker>} */
    this.shown = new Map();
    this.refresh = this.refresh.bind(this);
    map.on("moveend", this.refresh);
    this.refresh();
  }

  refresh() {
    const inSight = this.groups.within(this.map.getBounds().pad(0.15), this.map.getZoom());
    const keys = new Set(inSight.map((group) => group.key));
    for (const [key, marker] of this.shown) {
      if (keys.has(key)) continue;
      marker.remove();
      this.shown.delete(key);
    }
    for (const group of inSight) {
      if (!this.shown.has(group.key)) this.shown.set(group.key, this.marker(group));
    }
  }

  /** @param {Group} group */
  marker(group) {
    const face = document.createElement("span");
    face.className = "map-photo";
    const picture = document.createElement("img");
    picture.alt = "";
    picture.decoding = "async";
    picture.src = this.look.thumbnail(group.ids[0]);
    face.append(picture);
    if (group.count > 1) {
      const count = document.createElement("span");
      count.className = "map-count";
      count.textContent = this.look.short(group.count);
      face.append(count);
    }
    const icon = L.divIcon({ html: face, className: "map-marker", iconSize: [48, 48], iconAnchor: [24, 24] });
    const marker = L.marker([group.latitude, group.longitude], { icon, riseOnHover: true, zIndexOffset: group.count });
    marker.addTo(this.map);
    const element = /** @type {HTMLElement} */ (marker.getElement());
    element.setAttribute("role", "button");
    element.setAttribute("aria-label", this.look.label(group));
    element.dataset.group = group.key;
    marker.on("click", () => this.look.open(group, element));
    element.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      this.look.open(group, element);
    });
    return marker;
  }
}
