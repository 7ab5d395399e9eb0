// What the parts of a page have in common: its state, its sections and the list of them.

const page = {
  key: null, // what was opened by a link
  samples: [], // keys of tables of samples
  matrices: [], // keys of matrices
  pictures: [], // keys of images
  tables: [], // keys of other tables
  found: {}, // which scripts of the folder are there
};

const redraws = []; // functions that draw again what knows the colours of the theme

function section(title, id, ...content) {
  return make(
    "section",
    {id, "aria-labelledby": `${id}-title`},
    make("h2", {id: `${id}-title`}, title),
    ...content.filter(Boolean),
  );
}

/** The name of what is shown: "val/predictions" of "val/predictions_table". */
const titleOf = key => key.replace(/_(chart|table)(?=$|\/dataloader_idx_\d+$)/, "");

/** A link of the list of sections. */
function linkTo(node) {
  const onclick = event => {
    event.preventDefault();
    page.key = null;
    node.scrollIntoView();
    page.moved?.();
  };
  return make("a", {href: `#${node.id}`, onclick}, node.querySelector("h2").textContent);
}

/** Which section is looked at, in the list of sections. */
function watchSections() {
  const nav = document.querySelector("nav .sections");
  const watch = new IntersectionObserver(
    seen => {
      for (const {target, isIntersecting} of seen) target.inView = isIntersecting;
      const first = [...document.querySelectorAll("main > section")].find(({inView}) => inView);
      for (const link of nav.children)
        link.getAttribute("href") === `#${first?.id}`
          ? link.setAttribute("aria-current", "true")
          : link.removeAttribute("aria-current");
    },
    {rootMargin: "-80px 0px -50% 0px"},
  );
  document.querySelectorAll("main > section").forEach(node => watch.observe(node));
}
