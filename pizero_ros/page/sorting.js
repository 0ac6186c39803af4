'use strict';
// A click or a key on a heading sorts the rows of its table; entries without a value stay last.
document.addEventListener('click', (event) => {
  const button = event.target.closest('table.sortable th button');
  if (!button) return;
  const heading = button.closest('th');
  const table = heading.closest('table');
  const column = heading.cellIndex;
  const numeric = heading.classList.contains('n');
  const before = heading.getAttribute('aria-sort');
  const rising = before ? before === 'descending' : !numeric;
  const body = table.tBodies[0];
  const entries = Array.from(body.rows, (row) => ({ row, value: row.cells[column].dataset.v }));
  entries.sort((a, b) => {
    if (a.value === undefined || b.value === undefined) {
      return (a.value === undefined) - (b.value === undefined);
    }
    const order = numeric ? a.value - b.value
      : a.value.localeCompare(b.value, undefined, { numeric: true });
    return rising ? order : -order;
  });
  body.append(...entries.map((entry) => entry.row));
  for (const other of table.tHead.querySelectorAll('th')) other.removeAttribute('aria-sort');
  heading.setAttribute('aria-sort', rising ? 'ascending' : 'descending');
});
