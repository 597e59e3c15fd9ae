"use strict";
// A filter and buttons to copy; the page is all there without them.
const find = document.querySelector("#find");
const findings = [...document.querySelectorAll("[data-words]")];
const count = document.querySelector("#count");
function filter() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const one of findings) one.hidden = !words.every((word) => one.dataset.words.includes(word));
  const shown = findings.filter((one) => one.tagName === "ARTICLE" && !one.hidden).length;
  const all = findings.filter((one) => one.tagName === "ARTICLE").length;
  count.textContent = `${shown} of ${all} findings`;
}
const form = document.querySelector(".filter");
form.hidden = false;
form.addEventListener("submit", (event) => event.preventDefault());
find.addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== find && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    find.focus();
  } else if (event.key === "Escape" && document.activeElement === find) {
    find.value = "";
    filter();
  }
});
// A link into a finding that is filtered away shows it.
addEventListener("hashchange", () => {
  const one = document.getElementById(location.hash.slice(1));
  if (!one?.hidden) return;
  find.value = "";
  filter();
  one.scrollIntoView();
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
for (const text of document.querySelectorAll("pre[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy: ${text.dataset.copy}`);
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(text);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected";
    }
  });
  text.previousElementSibling.append(button);
}
filter();
