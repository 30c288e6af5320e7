"use strict";
(() => {
  const dialog = document.querySelector("dialog");
  let buttons = [];
  let shown = 0;

  function show(index) {
    shown = (index + buttons.length) % buttons.length;
    const button = buttons[shown];
    const picture = button.firstElementChild.cloneNode(true);
    // the copy must not have a second element with the identifier of the image
    const name = picture.querySelector("image").id;
    picture.querySelector("image").id = name + "-large";
    picture.querySelectorAll("use").forEach((use) => use.setAttribute("href", "#" + name + "-large"));
    dialog.children[0].replaceChildren(picture);
    dialog.children[1].textContent = button.parentElement.querySelector("figcaption").textContent;
  }

  document.querySelectorAll("button.enlarge").forEach((button) => {
    button.addEventListener("click", () => {
      const gallery = button.closest(".gallery");
      buttons = [...gallery.querySelectorAll("figure:not([hidden]) button.enlarge")];
      show(buttons.indexOf(button));
      dialog.showModal();
    });
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") show(shown + 1);
    if (event.key === "ArrowLeft") show(shown - 1);
  });
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => buttons[shown].focus());

  function fits(box, wanted) {
    return ["label", "kind", "size"].every((key) => !wanted[key] || box.dataset[key] === wanted[key])
      && (box.dataset.score === undefined ? wanted.score <= 0 : Number(box.dataset.score) >= wanted.score);
  }

  document.querySelectorAll("form.filters").forEach((form) => {
    const figures = [...form.parentElement.querySelectorAll(".gallery figure")];
    function filter() {
      const wanted = Object.fromEntries(new FormData(form));
      wanted.score = Number(wanted.score) || 0;
      let count = 0;
      for (const figure of figures) {
        const errors = [...figure.querySelectorAll(".box.bad")];
        errors.forEach((box) => box.classList.toggle("dim", !fits(box, wanted)));
        figure.hidden = !errors.some((box) => fits(box, wanted));
        count += !figure.hidden;
      }
      form.querySelector("output").textContent = count + " of " + figures.length + " images";
    }
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    filter();
  });
})();
