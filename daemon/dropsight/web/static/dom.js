// Elements made and kept without any markup in strings: nothing that a camera names becomes HTML.

export const byId = (id) => document.getElementById(id);

/** Make an element: properties, `class`, `data`, `aria-…`, CSS variables (`--share`), and children. */
export function el(name, props = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") made.className = value;
    else if (key === "data") Object.assign(made.dataset, value);
    else if (key.startsWith("--")) made.style.setProperty(key, value);
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && !key.startsWith("aria")) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function svg(name, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Set the text only where it is another: layout and screen readers stay at rest. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Bring a list in line with what is to be shown, by key; elements that stay keep focus and scroll. */
export function reconcile(list, items, { key, make, update }) {
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let place = list.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let child = known.get(name);
    known.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    update?.(child, item);
    if (child === place) place = place.nextElementSibling;
    else list.insertBefore(child, place);
  }
  for (const gone of known.values()) gone.remove();
}
