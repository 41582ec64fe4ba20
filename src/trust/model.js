// The model in the report's page: src/model.py and src/attention.py in plain JavaScript, to be read beside them.
//
// The names are theirs. Dropout and batches are left out, since nothing is trained here. Tokens are read one at a time:
// the keys and values of earlier tokens are kept, as the KV cache of src/fast/rows.py does.
//
// Shapes:  C = n_embd channels, nh = n_head heads, hs = C / nh head size, S tokens read so far, V = vocab_size. A
//          tensor is a Float32Array, row by row, as PyTorch lays it out.
"use strict";

// y = W x + b: x (in), weight (out, in), bias (out) or none -> (out)
function linear(x, { weight, bias }) {
  const n = x.length, y = new Float32Array(weight.length / n);
  for (let i = 0, w = 0; i < y.length; i++) {
    let even = bias ? bias[i] : 0, odd = 0; // two sums, because each addition waits for the one before it
    for (let j = 0; j < n - 1; j += 2, w += 2) {
      even += weight[w] * x[j];
      odd += weight[w + 1] * x[j + 1];
    }
    y[i] = even + odd + (n % 2 ? weight[w++] * x[n - 1] : 0);
  }
  return y;
}

function layerNorm(x, { weight, bias }) {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  return x.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-5)) * weight[i] + bias[i]);
}

// x Phi(x), with the error function of Abramowitz and Stegun, 7.1.26: it is exact to 1.5e-7.
function gelu(x) {
  const z = Math.abs(x) / Math.SQRT2, t = 1 / (1 + 0.3275911 * z);
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const erf = 1 - series * Math.exp(-z * z);
  return 0.5 * x * (1 + Math.sign(x) * erf);
}

// log softmax(logits / temperature), (V) -> (V)
function logSoftmax(logits, temperature = 1) {
  const top = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = logits.reduce((total, logit) => total + Math.exp((logit - top) / temperature), 0);
  return logits.map((logit) => (logit - top) / temperature - Math.log(sum));
}

const softmax = (scores) => logSoftmax(scores).map(Math.exp);
const add = (x, y) => x.map((value, i) => value + y[i]);

// attention.sinusoidal_positions for one position: (C)
function sinusoidalPosition(at, C) {
  return new Float32Array(C).map((_, i) => {
    const angle = at * 10000 ** (-(i - (i % 2)) / C);
    return i % 2 ? Math.cos(angle) : Math.sin(angle);
  });
}

// attention.apply_rotary_emb for one position: each pair of channels of each head is turned by its angle. x (C) -> (C)
function applyRotaryEmb(x, at, hs) {
  const y = new Float32Array(x.length);
  for (let i = 0; i < x.length; i += 2) {
    const angle = at * 10000 ** (-(i % hs) / hs), cos = Math.cos(angle), sin = Math.sin(angle);
    y[i] = x[i] * cos - x[i + 1] * sin;
    y[i + 1] = x[i] * sin + x[i + 1] * cos;
  }
  return y;
}

class CausalSelfAttention {
  constructor(config, { key, query, value, proj }) {
    Object.assign(this, { config, key, query, value, proj });
  }

  // x (C); past: the keys and values of the tokens before it; off: true for each head that is switched off.
  // Returns y (C), and what is kept of this token: {key, value, weights}, with weights[head] (S).
  forward(x, past, off) {
    const { n_head, n_embd, rotary } = this.config, hs = n_embd / n_head, at = past.length;
    let q = linear(x, this.query), key = linear(x, this.key);
    const value = linear(x, this.value);
    if (rotary) [q, key] = [applyRotaryEmb(q, at, hs), applyRotaryEmb(key, at, hs)];
    const seen = [...past, { key, value }], y = new Float32Array(n_embd), weights = [];
    for (let head = 0; head < n_head; head++) {
      const from = head * hs, to = from + hs;
      weights.push(this.attend(q, seen, y, from, to));
      if (off[head]) y.fill(0, from, to);
    }
    return [linear(y, this.proj), { key, value, weights }];
  }

  // softmax(q k' / sqrt(hs)) v for the channels of one head. Writes its part of y and returns its weights (S).
  attend(q, seen, y, from, to) {
    const scores = new Float32Array(seen.length);
    seen.forEach(({ key }, s) => {
      for (let i = from; i < to; i++) scores[s] += q[i] * key[i];
      scores[s] /= Math.sqrt(to - from);
    });
    const weights = softmax(scores);
    seen.forEach(({ value }, s) => {
      for (let i = from; i < to; i++) y[i] += weights[s] * value[i];
    });
    return weights;
  }
}

class Block {
  constructor(config, { ln1, ln2, attn, mlp }) {
    Object.assign(this, { ln1, ln2, attn: new CausalSelfAttention(config, attn), mlp });
  }

  forward(x, past, off) {
    const [y, kept] = this.attn.forward(layerNorm(x, this.ln1), past, off);
    x = add(x, y);
    const hidden = linear(layerNorm(x, this.ln2), this.mlp[0]).map(gelu); // mlp[1] is the GELU
    return [add(x, linear(hidden, this.mlp[2])), kept];
  }
}

class GPT {
  // config: vocab_size, block_size, n_layer, n_head, n_embd, position ("learned", "sinusoidal" or "none"), rotary
  // parameters: {"blocks.0.ln1.weight": Float32Array, ...}, under the names of the state_dict
  constructor(config, parameters) {
    const tree = {};
    for (const [name, tensor] of Object.entries(parameters)) {
      const path = name.split("."), last = path.pop();
      path.reduce((node, part) => (node[part] ??= {}), tree)[last] = tensor;
    }
    const { tok_emb, pos_emb, blocks, ln_f, head } = tree;
    Object.assign(this, { config, tok_emb, pos_emb, ln_f, head });
    this.blocks = Array.from({ length: config.n_layer }, (_, i) => new Block(config, blocks[i]));
  }

  // Logits (V) for the token after this one, and what each block keeps of it. past: what was kept of the tokens before.
  forward(token, past, off = []) {
    let x = this.embed(token, past.length);
    const kept = [];
    this.blocks.forEach((block, layer) => {
      [x, kept[layer]] = block.forward(x, past.map((of) => of[layer]), off[layer] ?? []);
    });
    return [linear(layerNorm(x, this.ln_f), this.head), kept];
  }

  embed(token, at) {
    const C = this.config.n_embd, row = (table, i) => table.subarray(i * C, (i + 1) * C);
    const x = row(this.tok_emb.weight, token);
    if (this.config.position === "learned") return add(x, row(this.pos_emb, at));
    return this.config.position === "sinusoidal" ? add(x, sinusoidalPosition(at, C)) : x;
  }

  // Reads tokens after a context {tokens, past, logits}, which stays as it is: it can be continued in other ways too.
  // As GPT.next_logits, it reads at most the last block_size tokens, so a continuation may outgrow the block.
  read(tokens, off, context = { tokens: [], past: [] }) {
    for (const token of tokens) {
      const all = [...context.tokens, token], size = this.config.block_size;
      if (all.length > size) {
        context = this.read(all.slice(-size), off);
      } else {
        const [logits, kept] = this.forward(token, context.past, off);
        context = { tokens: all, past: [...context.past, kept], logits };
      }
    }
    return context;
  }

  // The greedy continuation of a prompt, up to stop_token: {token, logits, context} for each new token.
  *generate(prompt, stop_token, off, max_new_tokens = 32) {
    let context = this.read(prompt, off);
    for (let i = 0; i < max_new_tokens; i++) {
      const { logits } = context, token = logits.indexOf(logits.reduce((a, b) => Math.max(a, b)));
      yield { token, logits, context };
      if (token === stop_token) return;
      context = this.read([token], off, context);
    }
  }

  // The likeliest continuations of a context that end with stop_token, likeliest first: {tokens, probability}. A search
  // that always extends the likeliest beginning. It yields null after each token that it reads: a page can pause there.
  *likeliest(context, stop_token, off, least = 0.0005, max_new_tokens = 32) {
    const open = [{ tokens: [], logP: 0, context }];
    while (open.length) {
      const best = open.reduce((i, one, j) => (one.logP > open[i].logP ? j : i), 0);
      const [{ tokens, logP, context: before }] = open.splice(best, 1);
      if (tokens.at(-1) === stop_token) {
        yield { tokens, probability: Math.exp(logP) };
        continue;
      }
      const here = tokens.length ? this.read(tokens.slice(-1), off, before) : before;
      logSoftmax(here.logits).forEach((logQ, token) => {
        const more = { tokens: [...tokens, token], logP: logP + logQ, context: here };
        if (more.logP > Math.log(least) && more.tokens.length <= max_new_tokens) open.push(more);
      });
      yield null;
    }
  }
}

// ------------------------------------------------------------------------------------------------- its parameters

// Float32Array of numbers in half precision, little-endian bytes.
function fromHalf(bytes) {
  const value = (h) => {
    const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, fraction = h & 1023;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
  };
  const table = Float32Array.from({ length: 65536 }, (_, h) => value(h)), numbers = new Float32Array(bytes.length / 2);
  for (let i = 0; i < numbers.length; i++) numbers[i] = table[bytes[2 * i] | (bytes[2 * i + 1] << 8)];
  return numbers;
}

// A GPT from what report_model.py writes: sizes lists [name, number of elements] in the order in which they are packed.
function unpack({ config, sizes }, base64) {
  const binary = atob(base64), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  const all = fromHalf(bytes), parameters = {};
  let from = 0;
  for (const [name, size] of sizes) parameters[name] = all.subarray(from, (from += size));
  return new GPT(config, parameters);
}
