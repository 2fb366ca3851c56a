// What a test asks of the page as it is drawn.

// Elements that lie beyond the window's right edge.
window.spilled = () => [...document.querySelectorAll("main *")]
  .filter((each) => !each.closest(".unseen, thead") && each.getBoundingClientRect().right > innerWidth + 1)
  .map((each) => each.outerHTML.slice(0, 120));

// Elements whose text does not stand out from its ground (WCAG 2.2, 1.4.3).
window.faint = () => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => linear(value / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (node) => {
    const own = getComputedStyle(node).backgroundColor;
    if (own !== "rgba(0, 0, 0, 0)") return own;
    return node.parentElement ? ground(node.parentElement) : "white";
  };
  const written = "h1, h2, p, dt, dd, th, td, li, small, b, button, label, input, a";
  return [...document.querySelectorAll(written)]
    .filter((node) => node.textContent && node.checkVisibility())
    .map((node) => {
      const [high, low] = [light(getComputedStyle(node).color), light(ground(node))].sort((one, two) => two - one);
      return { ratio: (high + 0.05) / (low + 0.05), node: node.outerHTML.slice(0, 120) };
    })
    .filter(({ ratio }) => ratio < 4.5);
};
