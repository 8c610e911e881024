// Copies the text of the element whose id the button names.
"use strict";

const canCopy = Boolean(navigator.clipboard);

function showCopyButtons() {
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !canCopy;
}
showCopyButtons();
document.addEventListener("htmx:afterSettle", showCopyButtons);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  button.setAttribute("data-copied", "");
  setTimeout(() => button.removeAttribute("data-copied"), 2000);
});
