// Shows the filter boxes and hides rows that do not hold every word typed.
for (const input of document.querySelectorAll("input[data-table]")) {
  const rows = document.querySelectorAll("#" + CSS.escape(input.dataset.table) + " tbody tr");
  const box = input.closest(".filter");
  const shown = box.querySelector("output");
  box.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      count += row.hidden ? 0 : 1;
    }
    shown.textContent = words.length ? count + " of " + rows.length : "";
  });
}
