// Texts that are seen and have less contrast than WCAG AA asks for: {low: ["text: contrast"], texts: how many were seen}.
(() => {
  const numbers = text => text.match(/[\d.]+(?:e-?\d+)?/g).map(Number);
  const parse = text => {
    const [r, g, b, a = 1] = text.startsWith("color(srgb")
      ? numbers(text).map((v, i) => (i < 3 ? 255 * v : v))
      : numbers(text);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const linear = v => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = node => {
    const chain = [];
    for (let outer = node; outer; outer = outer.parentElement)
      chain.unshift(parse(getComputedStyle(outer).backgroundColor));
    return chain.reduce((under, colour) => over(colour, under), [255, 255, 255]);
  };
  const low = [];
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(),
      node = walker.currentNode.parentElement;
    if (!text || !node.checkVisibility({visibilityProperty: true})) continue;
    if (node.closest("svg, script, style, .unseen, :disabled")) continue;
    texts++;
    const style = getComputedStyle(node),
      under = behind(node),
      ink = over(parse(style.color), under);
    const [a, b] = [luminance(ink), luminance(under)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05),
      size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5)) low.push(`${text.slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return {low, texts};
})();
