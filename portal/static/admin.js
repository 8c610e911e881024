// Accessible names for what Django's admin leaves without one: fields in tables, the date and the time of a
// date-time field, Select2 choosers.
"use strict";

const words = (element) => element?.textContent.trim().replace(/[:?]$/, "") ?? "";

function nameOf(field) {
  if (field.labels?.length) return words(field.labels[0]);
  const cell = field.closest(".tabular td");
  if (cell) return words(cell.closest("table").tHead.rows[0].cells[cell.cellIndex]);
  const row = field.closest(".form-row");
  const half = field.closest(".datetime") ? words(field.previousSibling) : "";
  return `${words(row?.querySelector("label, legend"))} ${half}`.trim();
}

function nameFields() {
  for (const field of document.querySelectorAll("#content-main :is(input, select, textarea):not([type=hidden])")) {
    const name = nameOf(field);
    if (!name) continue;
    if (!field.labels.length) field.ariaLabel ??= name;
    const chooser = field.nextElementSibling?.querySelector?.(".select2-selection");
    if (chooser) {
      chooser.removeAttribute("aria-labelledby");
      chooser.ariaLabel = chooser.firstElementChild.ariaLabel = name;
    }
  }
  for (const hint of document.querySelectorAll("span.help-tooltip[aria-label]")) hint.role = "img";
  // On a narrow screen a table of fields scrolls sideways: let the keyboard reach it, too.
  for (const table of document.querySelectorAll(".inline-group")) table.tabIndex = 0;
}

// Some choosers are built on jQuery's ready event, others on load.
window.django?.jQuery?.(nameFields);
window.addEventListener("load", nameFields);
document.addEventListener("formset:added", () => setTimeout(nameFields));
