// @ts-check
// What the page can do beyond being read: filter, sort, copy, change its theme. Without it everything is there, too.
"use strict";
(() => {
  /** @param {string} selector @param {ParentNode} [within] @returns {HTMLElement[]} */
  const all = (selector, within = document) => /** @type {any[]} */ ([...within.querySelectorAll(selector)]);
  /** @param {string} id */
  const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

  const tools = byId("tools");
  const words = tools.dataset;
  const query = /** @type {HTMLInputElement} */ (byId("find"));
  const primary = /** @type {HTMLButtonElement} */ (byId("primary-only"));
  const theme = /** @type {HTMLSelectElement} */ (byId("theme"));
  const status = byId("shown");
  const root = document.documentElement;

  /** A group is a row with what belongs to it. @type {HTMLElement[]} */
  const groups = all("table.rows > tbody");
  /** As they stood when the page was made. @type {Map<HTMLElement, HTMLElement[]>} */
  const order = new Map();
  for (const table of all("table.rows")) order.set(table, all(":scope > tbody", table));

  /** @type {{verdicts: Set<string>, text: string, primary: boolean, sort: string, theme: string}} */
  const state = { verdicts: new Set(), text: "", primary: false, sort: "", theme: "" };

  /** @param {string} tag @param {string} text @param {() => void} act */
  const button = (tag, text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = tag;
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  };

  // The counts of verdicts, as buttons that filter

  /** @type {HTMLButtonElement[]} */
  const chips = all("li[data-verdict]").map((item) => {
    const kind = item.dataset.verdict || "";
    const chip = button("chip", "", () => {
      if (!state.verdicts.delete(kind)) state.verdicts.add(kind);
      changed();
    });
    chip.dataset.kind = kind;
    chip.title = words.only || "";
    chip.append(...item.childNodes);
    item.append(chip);
    return chip;
  });

  /** @param {HTMLElement} group */
  const matches = (group) => {
    const rows = all("tr", group);
    const kinds = new Set(rows.flatMap((row) => (row.dataset.kinds || "").split(" ")));
    const wanted = !state.verdicts.size || [...state.verdicts].some((kind) => kinds.has(kind));
    const main = !state.primary || rows.some((row) => row.dataset.primary !== undefined);
    const heads = all("th", group).map((head) => head.textContent).join(" ").toLowerCase();
    return wanted && main && state.text.toLowerCase().split(/\s+/).every((word) => heads.includes(word));
  };

  const filter = () => {
    let shown = 0;
    for (const group of groups) {
      group.hidden = !matches(group);
      shown += group.hidden ? 0 : 1;
    }
    for (const table of order.keys()) {
      const none = order.get(table)?.every((group) => group.hidden) || false;
      table.closest("section")?.toggleAttribute("data-nothing", none);
    }
    for (const fold of all("details.fold")) {
      const row = document.getElementById(fold.dataset.row || "");
      fold.hidden = Boolean(row && /** @type {HTMLElement} */ (row.closest("tbody")).hidden);
    }
    const active = state.verdicts.size || state.text || state.primary;
    const text = (words.shown || "").replace("{shown}", String(shown)).replace("{all}", String(groups.length));
    status.textContent = active ? text : "";
    byId("reset").hidden = !active;
    for (const chip of chips) chip.setAttribute("aria-pressed", String(state.verdicts.has(chip.dataset.kind || "")));
    primary.setAttribute("aria-pressed", String(state.primary));
    if (query.value !== state.text) query.value = state.text;
  };

  // Sorting: the worst first, the best first, and as it was

  /** @param {Element} group @param {number} column */
  const worse = (group, column) => {
    const cell = /** @type {HTMLElement | undefined} */ (all("tr", group)[0]?.children[column]);
    return cell?.dataset.worse === undefined ? NaN : Number(cell.dataset.worse);
  };

  const sort = () => {
    const [id, column, way] = state.sort.split(":");
    for (const [table, groups] of order) {
      const here = table.closest("section")?.id === id && Number(column) > 0;
      const sign = way === "best" ? 1 : -1;
      const keys = new Map(groups.map((group) => [group, here ? worse(group, Number(column)) : NaN]));
      const sorted = [...groups].sort((left, right) => {
        const [a, b] = [keys.get(left) ?? NaN, keys.get(right) ?? NaN];
        if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
        return sign * (a - b);
      });
      table.append(...sorted);
      all("thead th", table).forEach((head, place) => {
        const on = here && place === Number(column);
        if (on) head.setAttribute("aria-sort", way === "best" ? "ascending" : "descending");
        else head.removeAttribute("aria-sort");
        const control = head.querySelector("button.sort");
        if (control) control.textContent = (on ? (way === "best" ? words.best : words.worst) : words.sort) || "";
      });
    }
  };

  for (const table of order.keys()) {
    const id = table.closest("section")?.id || "";
    all("thead th", table).forEach((head, place) => {
      if (!order.get(table)?.some((group) => !Number.isNaN(worse(group, place)))) return;
      const name = head.querySelector("b")?.textContent || "";
      const control = button("sort", words.sort || "", () => {
        const next = { "": "worst", worst: "best", best: "" }[state.sort.startsWith(`${id}:${place}:`) ? state.sort.split(":")[2] : ""];
        state.sort = next ? `${id}:${place}:${next}` : "";
        changed();
      });
      control.setAttribute("aria-describedby", `${id}-title`);
      control.title = `${words.sortby || ""} ${name}`;
      head.append(control);
    });
  }

  // The theme: the reader's own unless another is chosen

  const paint = () => {
    if (state.theme) root.dataset.theme = state.theme;
    else delete root.dataset.theme;
    theme.value = state.theme;
  };

  // What was chosen stands in the address, so that it can be sent to somebody

  const address = () => {
    const found = new URLSearchParams();
    if (state.verdicts.size) found.set("verdict", [...state.verdicts].sort().join("."));
    if (state.text) found.set("find", state.text);
    if (state.primary) found.set("primary", "1");
    if (state.sort) found.set("sort", state.sort);
    if (state.theme) found.set("theme", state.theme);
    const text = found.toString();
    return text ? `#?${text}` : "";
  };

  const changed = () => {
    history.replaceState(null, "", address() || location.pathname + location.search);
    filter();
    sort();
    paint();
  };

  /** A link to a row or a chart: show it, whatever is filtered or folded. */
  const reveal = () => {
    let id = "";
    try {
      id = decodeURIComponent(location.hash.slice(1));
    } catch {
      return;
    }
    const target = document.getElementById(id);
    if (!target) return;
    if (target.closest("[hidden]")) {
      Object.assign(state, { verdicts: new Set(), text: "", primary: false });
      filter();
    }
    for (let up = /** @type {Element | null} */ (target); up; up = up.parentElement) {
      if (up instanceof HTMLDetailsElement) up.open = true;
    }
    target.scrollIntoView();
  };

  const restore = () => {
    if (!location.hash.startsWith("#?")) return reveal();
    const found = new URLSearchParams(location.hash.slice(2));
    const known = new Set(chips.map((chip) => chip.dataset.kind));
    state.verdicts = new Set((found.get("verdict") || "").split(".").filter((kind) => known.has(kind)));
    state.text = found.get("find") || "";
    state.primary = found.get("primary") === "1";
    state.sort = found.get("sort") || "";
    const chosen = found.get("theme") || "";
    state.theme = [...theme.options].some((option) => option.value === chosen) ? chosen : "";
    filter();
    sort();
    paint();
  };

  query.addEventListener("input", () => {
    state.text = query.value;
    changed();
  });
  primary.addEventListener("click", () => {
    state.primary = !state.primary;
    changed();
  });
  byId("reset").addEventListener("click", () => {
    Object.assign(state, { verdicts: new Set(), text: "", primary: false });
    changed();
    query.focus();
  });
  theme.addEventListener("change", () => {
    state.theme = theme.value;
    changed();
  });
  window.addEventListener("hashchange", restore);

  // Copying: what stands in a box, as it stands there

  /** @param {string} text */
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // a page that was opened from disk may not be allowed to use the clipboard's own interface
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
  };

  for (const box of all("pre")) {
    const text = box.textContent || "";
    const holder = document.createElement("div");
    holder.className = "copied";
    box.before(holder);
    const control = button("copy", words.copy || "", async () => {
      await copy(text);
      control.textContent = words.done || "";
      status.textContent = words.done || "";
    });
    control.addEventListener("blur", () => {
      control.textContent = words.copy || "";
    });
    holder.append(box, control);
  }

  tools.hidden = false;
  restore();
})();
