// The theme: of the system, light or dark. What is drawn by colours is drawn again.

function theme() {
  const names = {"": "Theme: system", light: "Theme: light", dark: "Theme: dark"},
    root = document.documentElement;
  let kept = "";
  try {
    kept = localStorage.getItem("lwcallbacks-theme") || "";
  } catch {
    /* a page on a disk may not keep anything in some browsers */
  }
  const node = button("", () => set({"": "light", light: "dark", dark: ""}[root.dataset.theme || ""]), {
    className: "theme",
  });
  const set = name => {
    name ? (root.dataset.theme = name) : delete root.dataset.theme;
    node.textContent = {"": "◐", light: "☀", dark: "☾"}[name];
    node.title = names[name];
    node.setAttribute("aria-label", names[name]);
    try {
      localStorage.setItem("lwcallbacks-theme", name);
    } catch {
      /* as above */
    }
    recolour();
  };
  const recolour = () => {
    colour.known.clear();
    redraws.forEach(draw => draw());
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  set(kept in names ? kept : "");
  return node;
}
