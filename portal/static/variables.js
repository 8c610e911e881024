// Adds and removes rows of environment variables.
"use strict";

for (const list of document.querySelectorAll("[data-variables]")) {
  const add = list.parentElement.querySelector("[data-add]");
  const pattern = list.lastElementChild.cloneNode(true);
  for (const field of pattern.querySelectorAll("input, textarea")) field.value = field.defaultValue = "";

  const arm = (row) => {
    const remove = row.querySelector("[data-remove]");
    remove.hidden = false;
    remove.addEventListener("click", () => {
      const next = row.nextElementSibling || row.previousElementSibling;
      row.remove();
      (next?.querySelector("input") || add).focus();
    });
  };

  for (const row of [...list.children]) {
    if (row.querySelector("input").value || row.querySelector("textarea").value || row === list.children[0]) arm(row);
    else row.remove();
  }
  list.parentElement.querySelector("[data-hint]").hidden = true;
  add.hidden = false;
  add.addEventListener("click", () => {
    const row = pattern.cloneNode(true);
    arm(row);
    list.append(row);
    row.querySelector("input").focus();
  });
}
