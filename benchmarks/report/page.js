// Tables sort by the heading that is pressed; a link into a closed part opens it.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement, row = heading.parentElement;
    const column = [...row.children].indexOf(heading), up = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of row.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = row.closest("table").tBodies[0];
    const order = (tr) => tr.children[column].dataset.order;
    const compare = (a, b) => {
      const [x, y] = [order(a), order(b)], [p, q] = [Number(x), Number(y)];
      return Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q;
    };
    const rows = [...body.rows].sort((a, b) => (up ? compare(a, b) : compare(b, a)));
    body.append(...rows);
  });
}
function open() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (target) target.scrollIntoView();
}
addEventListener("hashchange", open);
open();
