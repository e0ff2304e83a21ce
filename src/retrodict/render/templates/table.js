"use strict";
// Finds records, and says of a cell that was tapped who made it so. The page is whole without it.
const box = document.getElementById("find");
const field = box.querySelector("input");
const told = box.querySelector("output");
const found = document.querySelectorAll("[data-key]");
const acts = document.querySelectorAll(".act");
const records = document.querySelectorAll("section#records .record");
function look() {
  const asked = field.value.trim().toLowerCase();
  for (const item of found) {
    const text = item.dataset.key + " " + item.textContent;
    item.hidden = asked !== "" && !text.toLowerCase().includes(asked);
  }
  for (const act of acts) {
    const parts = act.querySelectorAll("[data-key]");
    const said = act.querySelector(".said").textContent.toLowerCase().includes(asked);
    const some = Array.from(parts).some((part) => !part.hidden);
    act.hidden = asked !== "" && !some && !said;
    const more = act.querySelector("details");
    if (more && asked !== "" && some) more.open = true;
  }
  const left = Array.from(records).filter((record) => !record.hidden);
  if (asked !== "" && left.length === 1) left[0].querySelector("details").open = true;
  told.textContent = asked === "" ? "" : left.length + " of " + records.length + " records on this page";
}
box.hidden = false;
field.addEventListener("input", look);
const panel = document.getElementById("cell");
let marked = null;
function mark(link) {
  if (marked) marked.parentElement.classList.remove("marked");
  marked = link;
  panel.hidden = !link;
  if (link) link.parentElement.classList.add("marked");
}
document.addEventListener("click", (event) => {
  const link = event.target.closest(".blame a.made");
  if (link) {
    event.preventDefault();
    const act = document.getElementById(link.hash.slice(1));
    panel.querySelector(".what").textContent = link.dataset.what;
    const was = panel.querySelector(".was");
    was.replaceChildren(...(link.dataset.was === undefined ? [] : ["it was ", document.createElement("b")]));
    if (link.dataset.was !== undefined) was.querySelector("b").textContent = link.dataset.was;
    panel.querySelector(".by").replaceChildren(act.querySelector(".said").cloneNode(true));
    panel.querySelector("a.go").href = link.hash;
    mark(link);
    const under = link.getBoundingClientRect().bottom - panel.getBoundingClientRect().top;
    if (under > 0) window.scrollBy(0, under + 8);
  } else if (!panel.hidden && (!panel.contains(event.target) || event.target.closest("a,button"))) {
    mark(null);
  }
  const target = event.target.closest("a[href^='#r']");
  if (target) {
    const record = document.getElementById(target.hash.slice(1));
    if (record) {
      record.hidden = false;
      record.querySelector("details").open = true;
    }
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") mark(null);
});
