// Makes the report's page interactive, with the controls and data from report_interactive.py. Without this script the
// page is complete, but nothing moves. The functions of the first half take plain data, and know nothing of the page:
// the tests compare them with calibration.py.
"use strict";

// An answer is given if its confidence is `threshold` or more. run: {confidence: [N], right: [N], unseen: [U] or null}.
function abstain(run, threshold) {
  const given = run.confidence.map((confidence) => confidence >= threshold);
  const count = (list) => list.filter(Boolean).length;
  return {
    total: given.length,
    answered: count(given),
    right: count(given.map((answered, i) => answered && run.right[i])),
    unseen: run.unseen ? run.unseen.length : 0,
    madeUp: run.unseen ? count(run.unseen.map((confidence) => confidence >= threshold)) : 0,
  };
}

// The 95% interval of calibration.wilson.
function wilson(right, total) {
  if (total === 0) return [0, 1];
  const z = 1.959963984540054, share = right / total, shrink = 1 + z ** 2 / total;
  const centre = (share + z ** 2 / (2 * total)) / shrink;
  const half = (z / shrink) * Math.sqrt((share * (1 - share)) / total + z ** 2 / (4 * total ** 2));
  return [right === 0 ? 0 : centre - half, right === total ? 1 : centre + half];
}

// Rounds 6.25 to 6.2 as Python does, so that a number reads the same everywhere on the page.
const oneDigit = new Intl.NumberFormat("en", {
  minimumFractionDigits: 1, maximumFractionDigits: 1, roundingMode: "halfEven", useGrouping: false,
});

function percent(share) {
  if (share > 0 && 100 * share < 0.05) return "below 0.1%";
  if (share < 1 && 100 * share > 99.95) return "above 99.9%";
  return `${oneDigit.format(100 * share)}%`;
}

const counted = (part, total) => `${part} of ${total} = ${percent(part / total)}`;

function interval(right, total) {
  const [low, high] = wilson(right, total);
  return `${oneDigit.format(100 * low)} to ${oneDigit.format(100 * high)}%`;
}

// Two sentences about the counts of abstain: on the questions, and on names that nobody wrote about.
function sentences(threshold, count) {
  const from = `From a confidence of ${percent(threshold)} up it answers`;
  const known = count.answered
    ? `${from} ${counted(count.answered, count.total)} of the questions. Of these answers ` +
      `${counted(count.right, count.answered)} are right (95% interval ${interval(count.right, count.answered)}).`
    : `${from} none of the ${count.total} questions.`;
  const unseen = count.unseen
    ? `It also answers ${counted(count.madeUp, count.unseen)} of the questions about names that nobody wrote about. ` +
      (count.madeUp ? "All of these answers are made up." : "")
    : "";
  return [known, unseen.trim()];
}

// Case and accents do not matter: lodz finds Łódź.
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").replace(/[łŁ]/g, "l").toLowerCase();

// The indices of the answers to show, in order. answers: [{name, said, answer, right}], the surest first.
function select(answers, query, verdict, order) {
  const wanted = plain(query.trim());
  const shown = [...answers.keys()].filter((i) => {
    const { name, said, answer, right } = answers[i];
    return (verdict === "all" || right === (verdict === "right")) &&
      [name, said, answer].some((text) => plain(text).includes(wanted));
  });
  if (order === "unsure") shown.reverse();
  if (order === "name") shown.sort((a, b) => answers[a].name.localeCompare(answers[b].name));
  return shown;
}

// ------------------------------------------------------------------------------------------------------------ the page

function startAbstaining(section, runs) {
  const [slider, level] = [section.querySelector("input"), section.querySelector("label output")];
  const chosen = section.querySelector("select"); // missing if there is only one run
  const said = section.querySelectorAll("p output"), bars = section.querySelectorAll(".bar");
  const fill = (bar, parts) => parts.forEach((part, i) => { bar.children[i].style.flexGrow = part; });
  const update = () => {
    const threshold = Number(slider.value) / 100;
    const count = abstain(runs[chosen ? chosen.value : 0], threshold);
    level.textContent = percent(threshold);
    slider.setAttribute("aria-valuetext", percent(threshold));
    sentences(threshold, count).forEach((sentence, i) => { if (said[i]) said[i].textContent = sentence; });
    fill(bars[0], [count.right, count.answered - count.right, count.total - count.answered]);
    if (bars[1]) fill(bars[1], [count.madeUp, count.unseen - count.madeUp]);
  };
  for (const control of section.querySelectorAll("input, select")) control.addEventListener("input", update);
  section.querySelector(".touch").hidden = false;
  update();
}

function startAnswers(section, answers) {
  const query = section.querySelector("input"), [verdict, order] = section.querySelectorAll("select");
  const said = section.querySelector("p output"), body = section.querySelector("tbody");
  const rows = [...body.rows]; // row i shows answers[i]
  const update = () => {
    const shown = select(answers, query.value, verdict.value, order.value);
    const right = shown.filter((i) => answers[i].right).length;
    body.replaceChildren(...shown.map((i) => rows[i]));
    said.textContent = shown.length
      ? `Shown: ${shown.length} of ${answers.length} answers, ${right} right and ${shown.length - right} wrong.`
      : "No answer matches.";
  };
  for (const control of [query, verdict, order]) control.addEventListener("input", update);
  section.querySelector(".touch").hidden = false;
  update();
}

function startReport() {
  const data = JSON.parse(document.querySelector("#data").textContent);
  startAbstaining(document.querySelector("#try"), data.runs);
  startAnswers(document.querySelector("#answers"), data.answers);
  const open = [];
  addEventListener("beforeprint", () => {
    open.push(...document.querySelectorAll("details:not([open])"));
    for (const details of open) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of open.splice(0)) details.open = false;
  });
}

if (typeof document !== "undefined") startReport();
