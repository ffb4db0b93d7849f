// Reference images: dropped, pasted or chosen, sent to the server at once, shown small, and taken away again.

import { h, keyed, say } from "./dom.js";
import { pictureUrl } from "./wording.js";

const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff"];
export const MOST = 16;

/** `upload(file)` answers `{id}`; `changed()` is called whenever the pictures or their sending change. */
export function makeReferences({ upload, changed }) {
  let pictures = [];
  let count = 0;
  const kept = new Map();
  const list = h("ul", { class: "references", "aria-label": "Reference images", hidden: true });
  const problem = h("p", { class: "error small", role: "alert", hidden: true });
  const picker = h("input", {
    type: "file", accept: KINDS.join(","), multiple: true, class: "unseen", tabindex: "-1", "aria-hidden": "true",
    onchange: () => {
      add([...picker.files]);
      picker.value = "";
    },
  });
  const button = h("button", { type: "button", class: "button", onclick: () => picker.click() }, "Add reference images");
  const element = h("div", { class: "reference-area" }, list, problem);

  function told(text) {
    say(problem, text);
    problem.hidden = !text;
  }

  function show() {
    keyed(list, kept, pictures, (it) => it.key, makeThumbnail);
    list.hidden = !pictures.length;
    changed();
  }

  function makeThumbnail(it) {
    const image = h("img", { src: it.source, alt: it.name });
    const take = h("button", {
      type: "button", class: "remove", "aria-label": `Remove ${it.name}`,
      onclick: () => {
        pictures = pictures.filter((other) => other.key !== it.key);
        if (it.source.startsWith("blob:")) URL.revokeObjectURL(it.source);
        show();
        button.focus();
      },
    }, "×");
    const item = h("li", {}, image, take);
    return { element: item, update: (now) => item.classList.toggle("sending", !now.id) };
  }

  function add(files) {
    const images = files.filter((file) => KINDS.includes(file.type));
    told("");
    if (images.length < files.length) told("Only pictures can be references: PNG, JPEG, WebP, GIF, BMP or TIFF.");
    if (pictures.length + images.length > MOST) told(`At most ${MOST} reference images.`);
    for (const file of images.slice(0, MOST - pictures.length)) send(file);
  }

  async function send(file) {
    const picture = { key: ++count, name: file.name || "pasted picture", source: URL.createObjectURL(file), id: null };
    pictures = [...pictures, picture];
    show();
    try {
      const { id } = await upload(file);
      pictures = pictures.map((it) => (it.key === picture.key ? { ...it, id } : it));
    } catch (error) {
      pictures = pictures.filter((it) => it.key !== picture.key);
      told(`${picture.name}: ${error.message}`);
    }
    show();
  }

  return {
    element,
    button: h("span", { class: "picker" }, button, picker),
    add,
    /** Ids of the pictures that the server has. */
    ids: () => pictures.filter((it) => it.id).map((it) => it.id),
    isSending: () => pictures.some((it) => !it.id),
    fill(ids) {
      pictures = ids.map((id, place) => ({ key: ++count, name: `reference ${place + 1}`, source: pictureUrl(id, 128), id }));
      told("");
      show();
    },
    told,
  };
}
