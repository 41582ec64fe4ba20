// Where the model looks: a map of one attention head, from the letters of the answer to the letters before them, and
// what changes when heads are switched off. A part of the report's page; see ask.js.
"use strict";

class Look {
  constructor(box) {
    const { n_layer, n_head } = box.config;
    Object.assign(this, { box, layer: 0, head: 0, buttons: [] });
    const grid = this.part("heads");
    grid.style.gridTemplateColumns = `auto repeat(${n_head}, auto)`;
    for (let layer = 0; layer < n_layer; layer++) {
      grid.append(element("span", "", `layer ${layer + 1}`));
      this.buttons.push(Array.from({ length: n_head }, (_, head) => {
        const button = element("button", "", String(head + 1));
        button.type = "button";
        button.addEventListener("click", () => this.choose(layer, head));
        grid.append(button);
        return button;
      }));
    }
    this.part("switch").addEventListener("click", () => this.toggle());
    this.part("all").addEventListener("click", () => this.toggle(true));
    this.part("worth").addEventListener("click", () => this.measure());
    this.label();
  }

  part(name) {
    return document.querySelector(`#look-${name}`);
  }

  // said: what AskBox.ask found. The head with the largest weight on the question is shown first.
  show(said) {
    const first = !this.said;
    this.said = said;
    document.querySelector("#look .touch").hidden = false;
    this.part("hint").hidden = true;
    if (first) {
      let largest = 0;
      said.steps[0].context.past.at(-1).forEach(({ weights }, layer) => weights.forEach((row, head) => {
        const most = Math.max(...row.slice(0, -1)); // without the MASK itself
        if (most > largest) [largest, this.layer, this.head] = [most, layer, head];
      }));
    }
    for (const button of this.buttons.flat()) button.style.background = "";
    this.part("effect").textContent = "";
    this.compare();
    this.choose(this.layer, this.head);
  }

  choose(layer, head) {
    Object.assign(this, { layer, head });
    this.label();
    if (this.said) this.draw();
  }

  isOff(layer, head) {
    return Boolean(this.box.off[layer][head]);
  }

  label() {
    this.buttons.forEach((row, layer) => row.forEach((button, head) => {
      const off = this.isOff(layer, head);
      button.setAttribute("aria-pressed", layer === this.layer && head === this.head);
      button.setAttribute("aria-label", `layer ${layer + 1}, head ${head + 1}${off ? ", off" : ""}`);
      button.classList.toggle("off", off);
    }));
    const name = `layer ${this.layer + 1}, head ${this.head + 1}`;
    this.part("switch").textContent = `Switch ${this.isOff(this.layer, this.head) ? "on" : "off"} ${name}`;
    this.part("all").disabled = !this.box.off.flat().some(Boolean);
  }

  // Switches the chosen head, or all heads on, and asks again.
  toggle(allOn = false) {
    if (allOn) for (const layer of this.box.off) layer.length = 0;
    else this.box.off[this.layer][this.head] = !this.isOff(this.layer, this.head);
    this.label();
    if (this.box.check()) this.box.ask();
  }

  // What the switched-off heads change about the answer.
  compare() {
    const { name, text, confidence } = this.said, whole = !this.box.off.flat().some(Boolean);
    if (whole) this.whole = this.said;
    const before = this.whole?.name === name && !whole ? this.whole : undefined;
    this.part("effect").textContent = before
      ? `With all heads: “${before.text}”, ${percent(before.confidence)} sure. ` +
        `With the heads that are struck out switched off: “${text}”, ${percent(confidence)} sure.`
      : "";
  }

  // Colours each head by how much less sure of its answer the model is without it.
  async measure() {
    const { prompt, steps, confidence, text, number } = this.said, { model, off } = this.box;
    const drops = [];
    this.part("worth").disabled = true;
    for (const [layer, row] of this.buttons.entries()) {
      for (const [head, button] of row.entries()) {
        const without = off.map((heads, i) => (i === layer ? Object.assign([...heads], { [head]: true }) : heads));
        let context = model.read(prompt, without), p = 1;
        for (const { token } of steps) {
          p *= Math.exp(logSoftmax(context.logits)[token]);
          context = model.read([token], without, context);
        }
        await pause(0);
        if (number !== this.box.asked) break;
        drops.push([confidence - p, `layer ${layer + 1}, head ${head + 1}`]);
        const strength = Math.max(0, 70 * (1 - p / confidence));
        button.style.background = `color-mix(in srgb, var(--wrong) ${strength}%, var(--page))`;
      }
    }
    this.part("worth").disabled = false;
    const [drop, most] = drops.reduce((a, b) => (b[0] > a[0] ? b : a), [0, ""]);
    if (number === this.box.asked && most) {
      const left = `without it the model is ${percent(confidence - drop)} sure of it`;
      this.part("effect").textContent = `“${text}” depends most on ${most}: ${left}.`;
    }
  }

  // The map: a row for each letter of the answer, a column for each letter that it can look at.
  draw() {
    const { steps, prompt, question } = this.said, { vocabulary } = this.box;
    const rows = steps.filter(({ context }, i) => context.tokens.length === prompt.length + i); // read as a whole
    const all = [...prompt, ...rows.slice(0, -1).map(({ token }) => token)];
    const char = (token) => (token === MASK ? "\u25a0" : visible(vocabulary[token]));
    const weights = rows.map(({ context }) => context.past.at(-1)[this.layer].weights[this.head]);
    const map = element("div", "");
    map.style.gridTemplateColumns = `auto repeat(${all.length}, minmax(0.95rem, 1fr))`;
    map.append(element("i", "first"), ...all.map((token) => element("i", "", char(token))));
    rows.forEach(({ token }, i) => {
      map.append(element("i", "first", char(token)));
      all.forEach((seen, j) => {
        const cell = element("i", j < weights[i].length ? "cell" : ""), weight = weights[i][j] ?? 0;
        cell.style.setProperty("--w", Math.sqrt(weight).toFixed(3)); // so that small weights are seen, too
        if (j < weights[i].length) cell.title = `${char(token)} looks at ${char(seen)}: ${percent(weight)}`;
        map.append(cell);
      });
    });
    const [before, after] = this.box.data.form.map((part) => [...part].length), end = [...question].length - after;
    const [first] = weights, top = first.indexOf(Math.max(...first));
    const onName = first.slice(before, end).reduce((sum, weight) => sum + weight, 0);
    const sentence = `Layer ${this.layer + 1}, head ${this.head + 1}: before it writes “${char(rows[0].token)}”, ` +
      `it looks most at “${char(all[top])}” (${percent(first[top])}); ${percent(onName)} of its weight is on the name.`;
    map.setAttribute("role", "img");
    map.setAttribute("aria-label", sentence);
    this.part("map").replaceChildren(map);
    this.part("sentence").textContent = sentence;
  }
}
