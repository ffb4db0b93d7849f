// A text that may be so long and no longer: what is cut is said, not swallowed.

import { h, say } from "./dom.js";

const MOST = 20_000;

/** `{keep(), note, most(count)}`: `keep()` cuts what `area` holds, and says so in `note` until the next change. */
export function limited(area) {
  let most = MOST;
  const note = h("p", { class: "warning small", role: "status", hidden: true });
  return {
    note,
    most: (count) => (most = count),
    keep() {
      const had = area.value.length;
      note.hidden = had <= most;
      if (note.hidden) return;
      // Not between the halves of a character.
      area.value = area.value.slice(0, most).replace(/[\uD800-\uDBFF]$/, "");
      say(note, `Cut at ${most.toLocaleString("en")} of ${had.toLocaleString("en")} characters.`);
    },
  };
}
