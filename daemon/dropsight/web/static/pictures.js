// The pictures of a record, as the daemon makes them.

import { el } from "./dom.js";

/** Whose picture to show: a burst has none of its own, but its photo that shows it best has. */
export const photo = (record) => record.burst?.peak.id ?? record.id;

/** A thumbnail; where there is none, words. A busy daemon is asked once more. */
export function picture(record, { size = "small", path = "thumbnail", alt = "", none = "no picture" } = {}) {
  const source = `/api/images/${photo(record)}/${path}${size === "large" ? "?size=large" : ""}`;
  const image = el("img", { alt, decoding: "async", loading: size === "small" ? "lazy" : "eager", src: source });
  let tries = 0;
  image.addEventListener("load", () => image.classList.add("there"));
  image.addEventListener("error", () => {
    if (tries++ < 1) setTimeout(() => (image.src = `${source}${source.includes("?") ? "&" : "?"}again`), 1_500);
    else image.replaceWith(el("span", { class: "none" }, none));
  });
  return image;
}
