// Sets the theme before the first paint, so that a dark page never flashes; everything else comes with main.js.
(() => {
  let wanted = "system";
  try {
    wanted = JSON.parse(localStorage.getItem("pacos.preferences") || "{}").theme || "system";
  } catch {
    // Storage may be forbidden or hold something else: the system's theme it is.
  }
  const dark = wanted === "dark" || (wanted === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
