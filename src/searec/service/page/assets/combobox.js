// A text field with a list of proposals (ARIA 1.2 combobox): arrows move, Enter takes, Escape closes.

import { announce, debounced, el, plural } from "./dom.js";
import { Latest } from "./api.js";

/**
 * @param input the field; @param place the element around it, where the list goes.
 * @param propose (text, signal) -> Promise of [{value, note}].
 * @param take what is called with the text on Enter, or with a proposal.
 * @param restore () -> the text that Escape brings back when the list is closed; strict: leaving the field does so, too.
 */
export function combobox({ input, place, label, propose, take, restore = () => "", strict = false }) {
  const id = `${input.id}-list`;
  const list = el("ul", { id, role: "listbox", "aria-label": label, hidden: true });
  place.append(list);
  for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-controls": id, "aria-expanded": "false" })) {
    input.setAttribute(name, value);
  }
  const latest = new Latest();
  let options = [];
  let active = -1;

  function close() {
    later.cancel();
    latest.begin();
    options = [];
    list.hidden = true;
    list.replaceChildren();
    input.setAttribute("aria-expanded", "false");
    point(-1);
  }

  function point(at) {
    list.children[active]?.setAttribute("aria-selected", "false");
    active = at;
    const option = list.children[at];
    if (!option) {
      input.removeAttribute("aria-activedescendant");
      return;
    }
    option.setAttribute("aria-selected", "true");
    input.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  }

  function choose(value) {
    input.value = value;
    close();
    take(value);
  }

  async function open(first) {
    const signal = latest.begin();
    let response;
    try {
      response = await propose(input.value.trim(), signal);
    } catch {
      if (!signal.aborted) close(); // the panels show the problem; a field without proposals still works
      return;
    }
    if (signal.aborted || document.activeElement !== input) return;
    options = response;
    point(-1);
    list.replaceChildren(
      ...response.map((one, at) =>
        el(
          "li",
          { id: `${id}-${at}`, role: "option", "aria-selected": "false", on: { click: () => choose(one.value) } },
          el("span", { dir: "auto" }, one.value),
          one.note && el("small", {}, one.note),
        ),
      ),
    );
    list.hidden = !response.length;
    input.setAttribute("aria-expanded", String(response.length > 0));
    if (response.length) announce(`${plural(response.length, "suggestion")}.`);
    if (first !== undefined && response.length) point(first < 0 ? response.length - 1 : first);
  }

  const later = debounced(() => document.activeElement === input && open(), 120);
  input.addEventListener("input", later);
  input.addEventListener("blur", () => {
    close();
    if (strict) input.value = restore();
  });
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const shown = !list.hidden;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (!shown) open(step > 0 ? 0 : -1);
      else point(((active + 1 + step + options.length + 1) % (options.length + 1)) - 1); // past the end: the field itself
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (shown && active >= 0) choose(options[active].value);
      else submit();
    } else if (event.key === "Escape") {
      event.preventDefault();
      if (shown) close();
      else input.value = restore();
    }
  });

  function submit() {
    const text = input.value.trim();
    close();
    take(text);
  }

  return { submit, close };
}
