"use strict";
(() => {
  const PAGE_SIZE = 12;
  const hasMouse = matchMedia("(hover: hover)").matches;
  const CONFIG = {
    responsive: true, displaylogo: false, displayModeBar: hasMouse ? "hover" : false, modeBarButtons: [["resetScale2d", "toImage"]],
  };
  const figures = JSON.parse(document.getElementById("figures").textContent);

  // Charts name CSS variables; the drawn colour is what the variable is worth in the present theme.
  const painted = (value, style) => {
    if (typeof value === "string") {
      return value.replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
    }
    if (Array.isArray(value)) return value.map((each) => painted(each, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, painted(each, style)]));
    }
    return value;
  };

  const draw = (place) => {
    const figure = painted(figures[Number(place.id.split("-")[1])], getComputedStyle(document.documentElement));
    figure.layout.dragmode = hasMouse ? "zoom" : false; // a finger on a chart scrolls the page
    Plotly.react(place, figure.data, figure.layout, CONFIG);
  };
  const drawVisible = () => document.querySelectorAll(".chart").forEach((place) => place.offsetParent && draw(place));
  drawVisible();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawVisible);

  const tabs = [...document.querySelectorAll("[data-tab]")];
  const open = (chosen) => {
    tabs.forEach((tab) => tab.setAttribute("aria-pressed", String(tab === chosen)));
    document.querySelectorAll("[data-panel]").forEach((panel) => {
      panel.hidden = panel.dataset.panel !== chosen.dataset.tab;
      if (!panel.hidden) panel.querySelectorAll(".chart").forEach(draw);
    });
  };
  tabs.forEach((tab) => tab.addEventListener("click", () => open(tab)));

  const form = document.querySelector(".filters");
  if (!form) return;
  const filters = [...form.querySelectorAll("[data-filter]")];
  const search = form.querySelector("input");
  const articles = [...document.querySelectorAll("article")];
  const words = new Map(articles.map((article) => [article, article.textContent.toLowerCase()]));
  const more = document.querySelector(".more");
  let limit = PAGE_SIZE;
  const filter = () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (article) =>
      filters.every(({ value, dataset }) => !value || article.dataset[dataset.filter] === value)
      && wanted.every((word) => words.get(article).includes(word));
    const matches = articles.filter(fits);
    const shown = new Set(matches.slice(0, limit));
    articles.forEach((article) => { article.hidden = !shown.has(article); });
    form.querySelector("output").textContent = matches.length ? `${shown.size} of ${matches.length} shown` : "none fits";
    more.hidden = shown.size === matches.length;
  };
  form.addEventListener("input", () => { limit = PAGE_SIZE; filter(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { limit += PAGE_SIZE; filter(); });
  filter();
})();
