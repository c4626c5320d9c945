// All that only maps need, loaded when the first one is opened.

/** @param {string} path beside this module @returns {Promise<void>} */
function stylesheet(path) {
  const { href } = new URL(path, import.meta.url);
  if (document.querySelector(`link[href="${href}"]`)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href });
    link.onload = () => resolve();
    link.onerror = () => reject(new Error(href));
    document.head.append(link);
  });
}

/** Leaflet, the basemap and the groups of photos, with their styles. */
export async function mapParts() {
  const [leaflet, clusters, basemap] = await Promise.all([
    import("../../vendor/leaflet.js"),
    import("./clusters.js"),
    import("./basemap.js"),
    stylesheet("../../vendor/leaflet.css"),
    stylesheet("../../style/map.css"),
  ]);
  return { L: leaflet, ...clusters, ...basemap };
}
