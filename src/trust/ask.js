// The question box of the report's page: the model of model.js answers letter by letter. It shows what else the model
// might have said, how far to trust it, and what the texts say. The controls and the data are from report_ask.py.
"use strict";

const MASK = 1; // the token that opens and closes an answer, as in vocabulary.py
const MOST_READ = 150, MOST_SHOWN = 6; // of the search for other answers: tokens that it may read, answers
const BEAT = 60; // milliseconds between two letters, for those who like motion

// <tag class="kind">children</tag>: texts become text, never markup.
function element(tag, kind, ...children) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...children);
  return made;
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const visible = (char) => ({ " ": "\u2423", "\n": "\u21b5", "\u2047": "end" })[char] ?? char;

class AskBox {
  // data: what report_ask.py collects; base64: the parameters
  constructor(data, base64) {
    Object.assign(this, { data, base64, config: data.about.config });
    this.vocabulary = [...data.about.vocabulary];
    this.ids = new Map(this.vocabulary.map((char, id) => [char, id]));
    this.characters = new Set(this.vocabulary.slice(2)); // nobody can type PAD and MASK
    this.off = Array.from({ length: this.config.n_layer }, () => []); // the heads that are switched off
    this.asked = 0; // the number of the latest question: an earlier one that is still being answered ends
    this.input = this.part("name");
    this.look = new Look(this);
    document.querySelector("#ask form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.check()) this.ask();
    });
    this.input.addEventListener("input", () => this.check());
    for (const button of document.querySelectorAll("#ask .picks button")) {
      button.addEventListener("click", () => {
        this.input.value = button.dataset.name;
        if (this.check()) this.ask();
      });
    }
    document.querySelector("#ask .touch").hidden = false;
    this.check();
  }

  part(name) {
    return document.querySelector(`#ask-${name}`);
  }

  get model() { // unpacked when it is first needed
    return (this.unpacked ??= unpack(this.data.about, this.base64));
  }

  get name() {
    return spelt(nameIn(this.input.value, this.data.form), this.characters);
  }

  // The question about this name, of the form that the model was trained on.
  question(name) {
    return this.data.form.join(name);
  }

  // Says what the model cannot read before it is asked. Returns whether it can be asked.
  check() {
    const question = this.question(this.name), unknown = unknownCharacters(question, this.characters);
    const list = unknown.map((char) => `“${char}”`).join(" and ");
    const long = [...question].length + 2 > this.config.block_size;
    let problem = long ? "This name is too long for the model." : "";
    if (unknown.length) problem = `The model cannot read ${list}: no text that it was trained on has such a character.`;
    const close = problem && nearest(this.name, this.data.lines ?? []);
    this.part("warning").textContent = close ? `${problem} Do you mean ${close}?` : problem;
    this.part("go").disabled = !this.name || problem !== "";
    return !this.part("go").disabled;
  }

  // Asks about the name in the box, and shows everything.
  async ask() {
    const number = ++this.asked, { name, off } = this, question = this.question(name);
    const prompt = [...[...question].map((char) => this.ids.get(char)), MASK];
    const beat = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : BEAT;
    const steps = [];
    this.part("answer").hidden = false;
    for (const part of ["letters", "verdict", "line", "tree"]) this.part(part).replaceChildren();
    await pause(0); // the empty answer is drawn while the model reads the question
    for (const step of this.model.generate(prompt, MASK, off, this.data.about.longest)) {
      if (number !== this.asked) return;
      steps.push(step);
      this.part("letters").append(this.letter(step));
      await pause(beat);
    }
    const text = steps.map(({ token }) => (token === MASK ? "" : this.vocabulary[token])).join("");
    const logP = (temperature) =>
      steps.reduce((sum, { token, logits }) => sum + logSoftmax(logits, temperature)[token], 0);
    const said = { number, name, question, prompt, steps, text, confidence: Math.exp(logP(1)) };
    this.showVerdict(said, this.data.temperature && Math.exp(logP(this.data.temperature)));
    this.remember(said);
    this.look.show(said);
    await this.growTree(said);
  }

  // A letter of the answer, above its probability, which the strength of its underline shows too.
  letter({ token, logits }) {
    const p = Math.exp(logSoftmax(logits)[token]);
    const made = element("span", token === MASK ? "end" : "", element("b", "", visible(this.vocabulary[token])));
    made.append(element("small", "", p > 0.995 ? "~100%" : `${Math.round(100 * p)}%`));
    made.style.borderColor = `color-mix(in srgb, var(--right) ${100 * p}%, var(--line))`;
    return made;
  }

  // How far to trust the answer: what the texts say of the name, and how often such a confidence was right.
  showVerdict({ name, text, confidence }, scaled) {
    const { lines, particles, named, bins, questions, unseenShare, corpus } = this.data;
    const sure = `The model is ${percent(confidence)} sure of “${text}”`;
    const temper = scaled ? ` (${percent(scaled)} after temperature scaling)` : "";
    const paragraphs = [`${sure}${temper}.`];
    const bin = bins.find(({ high }) => confidence < high) ?? bins.at(-1);
    const range = `${Math.round(100 * bin.low)} to ${Math.round(100 * bin.high)}%`;
    const often = bin.total
      ? `With ${range} it was right ${bin.right} times of ${bin.total} on ${questions} ` +
        `(95% interval ${interval(bin.right, bin.total)}).`
      : `No answer to ${questions} had ${range}, so how often it is then right is not known.`;
    const line = lines && about(name, lines, particles, named);
    if (line) {
      const place = placeIn(text, line, name);
      paragraphs.push(often, place ? "" : `Made up: “${text}” does not stand in the text about ${name}.`);
      const [start, end] = place ?? [line.length, line.length];
      const quote = element("blockquote", "", line.slice(0, start));
      if (place) quote.append(element("mark", "", line.slice(start, end)), line.slice(end));
      this.part("line").append(element("p", "note", `The text about ${name}, in ${corpus}:`), quote);
    } else if (lines) {
      const mentioned = lines.some((one) => wholeWords(name, one).length), close = nearest(name, lines);
      const who = mentioned ? `is about ${name}, though some mention the name` : `mentions ${name}`;
      paragraphs.push(`Made up: no text of ${corpus} ${who}.${close ? ` There is one about ${close}.` : ""}`);
      const share = unseenShare?.[bins.indexOf(bin)];
      const others = "Of its answers about names that nobody wrote about";
      if (share !== undefined) paragraphs.push(`${others}, ${percent(share)} are as sure as this one.`);
    } else {
      paragraphs.push(often, "The texts are too long for this page. If none is about this name, this is made up.");
    }
    this.part("verdict").append(...paragraphs.filter(Boolean).map((sentence) => element("p", "", sentence)));
  }

  // A row of the table of what was asked, so that two spellings or two sets of heads can be compared.
  remember({ name, text, confidence }) {
    const names = this.off.flatMap((layer, i) => layer.map((off, j) => (off ? `${i + 1}.${j + 1}` : "")));
    const heads = names.filter(Boolean);
    const cells = [name, heads.join(", ") || "none", text || "(nothing)", percent(confidence)];
    const row = element("tr", "", ...cells.map((cell) => element("td", "", cell)));
    this.part("history").hidden = false;
    const body = this.part("history").querySelector("tbody");
    body.prepend(row);
    if (body.rows.length > MOST_SHOWN) body.lastChild.remove();
  }

  // The likeliest answers as a tree: where two part, a branch begins.
  async growTree({ number, prompt }) {
    const root = { children: new Map(), p: 0 }, off = this.off;
    const context = this.model.read(prompt, off), { longest } = this.data.about;
    let read = 0, shown = 0;
    for (const found of this.model.likeliest(context, MASK, off, undefined, longest)) {
      if (number !== this.asked || ++read > MOST_READ || shown === MOST_SHOWN) break;
      if (found === null) {
        if (read % 4 === 0) await pause(0);
        continue;
      }
      shown++;
      let node = root;
      for (const token of found.tokens) {
        node.p += found.probability;
        if (!node.children.has(token)) node.children.set(token, { children: new Map(), p: 0 });
        node = node.children.get(token);
      }
      node.p += found.probability;
      if (number === this.asked) this.part("tree").replaceChildren(this.branches(root));
    }
  }

  branches(node) {
    const items = [...node.children].sort(([, a], [, b]) => b.p - a.p).map(([token, child]) => {
      let text = token === MASK ? "" : this.vocabulary[token], at = child;
      while (at.children.size === 1) { // letters without a choice stand together
        const [[next, only]] = at.children;
        if (next !== MASK) text += this.vocabulary[next];
        at = only;
      }
      const bar = element("i", "");
      bar.style.setProperty("--p", child.p);
      const item = element("li", "", element("b", "", text || "(end)"), bar, element("small", "", percent(child.p)));
      if (at.children.size) item.append(this.branches(at));
      return item;
    });
    return element("ul", "", ...items);
  }
}

function startAsking() {
  const data = document.querySelector("#model"), weights = document.querySelector("#weights");
  if (data && weights) window.askBox = new AskBox(JSON.parse(data.textContent), weights.textContent);
}

if (typeof document !== "undefined") startAsking();
