"use strict";
// The files of an exported page are inside of it: whoever asks for one by its path below the page gets it.
(() => {
  const files = JSON.parse(document.getElementById("lw-files").textContent);
  const urls = new Map();

  function blob(path) {
    if (path.endsWith(".js")) return new Blob([files[path]], {type: "text/javascript"});
    return new Blob([Uint8Array.from(atob(files[path]), char => char.charCodeAt(0))], {type: "image/png"});
  }

  function inside(url) {
    let path;
    try {
      path = decodeURIComponent(String(url).split(/[?#]/)[0]).replace(/^\.\//, "");
    } catch {
      return url;
    }
    if (!Object.hasOwn(files, path)) return url;
    if (!urls.has(path)) urls.set(path, URL.createObjectURL(blob(path)));
    return urls.get(path);
  }

  for (const [kind, name] of [[HTMLImageElement, "src"], [HTMLScriptElement, "src"], [HTMLAnchorElement, "href"]]) {
    const own = Object.getOwnPropertyDescriptor(kind.prototype, name);
    Object.defineProperty(kind.prototype, name, {...own, set(url) { own.set.call(this, inside(url)); }});
  }
  const names = ["src", "href", "xlink:href"], {setAttribute, setAttributeNS} = Element.prototype;
  Element.prototype.setAttribute = function (name, value) {
    setAttribute.call(this, name, names.includes(name) ? inside(value) : value);
  };
  Element.prototype.setAttributeNS = function (space, name, value) {
    setAttributeNS.call(this, space, name, names.includes(name) ? inside(value) : value);
  };
})();
