// What is asked about, and what the texts say of it: people.py for the names that are typed into the report's page.
// These functions take plain data and know nothing of the page; the tests compare them with people.py.
"use strict";

const ASKS = /[?\uff1f\ufe56\u061f\u037e\s]+$/u; // question marks at the end: also full-width, small, Arabic and Greek

// The name in what somebody typed: a name alone stands for the question. form: what questions begin and end with.
function nameIn(typed, form) {
  const asked = typed.trim().replace(/\s+/g, " ").replace(ASKS, "");
  const born = /^where(?: was| is|['\u2019]s) (.+?) born\b[\s.!]*$/i.exec(asked);
  if (form.join("NAME") === "Where was NAME born?") return born ? born[1] : asked;
  const [before, after] = form.map((part) => part.replace(/\s+/g, " "));
  const begin = before.trim(), end = after.replace(ASKS, ""), emoji = /[\p{L}\p{N}]/u.test(end) ? "" : end.trim();
  const bare = emoji && asked.endsWith(emoji) ? asked.slice(0, -emoji.length).replace(ASKS, "") : asked;
  const last = emoji ? "" : end.trimEnd(), same = (a, b) => a.toLowerCase() === b.toLowerCase();
  const name = bare.slice(begin.length, bare.length - last.length).trim();
  const whole = same(bare.slice(0, begin.length), begin) && same(bare.slice(bare.length - last.length), last);
  return whole && name ? name : bare;
}

// `text` in characters of the vocabulary, where that only takes another form of the same letters. characters: a Set.
function spelt(text, characters) {
  const straight = (letter) =>
    letter.normalize("NFKD").replace(/[\u2018\u2019\u02bc]/g, "'").replace(/[\u2010-\u2013]/g, "-");
  return text.replace(/\P{M}\p{M}*/gu, (letter) => {
    const [nfc, nfd, nfkc] = ["NFC", "NFD", "NFKC"].map((form) => letter.normalize(form));
    const forms = [nfc, letter, nfd, nfkc, straight(letter)];
    return forms.find((form) => [...form].every((char) => characters.has(char))) ?? letter;
  });
}

const unknownCharacters = (text, characters) => [...new Set(text)].filter((char) => !characters.has(char));

const STARTS_WORD = /^[\p{L}\p{N}\p{M}_]/u;
const ENDS_WORD = /[\p{L}\p{N}\p{M}_][-\u2010\u2011'\u2019]?$/u;

// Scripts without spaces between words: there a word may end anywhere.
const UNSPACED = /^[\p{sc=Han}\p{sc=Hira}\p{sc=Kana}\p{sc=Thai}\p{sc=Laoo}\p{sc=Khmr}\p{sc=Mymr}]/u;

// May a word hold both of two characters that stand side by side?
const join = (one, other) => STARTS_WORD.test(one) && !UNSPACED.test(one) && !UNSPACED.test(other);

// Do these words go on in `rest`, which follows them? "Milan's" and "Milan-born" end with Milan, "Rome-Nice" does not.
function continues(words, rest) {
  if (!join([...words].at(-1), rest)) return false;
  if (/^(?:['\u2019]s|[-\u2010\u2011](?:born|based|bred|raised|educated))(?![\p{L}\p{N}])/u.test(rest)) return false;
  return STARTS_WORD.test(rest.replace(/^[-\u2010\u2011'\u2019]/, ""));
}

// [start, end] of each place where `words` stand as whole words.
function wholeWords(words, text) {
  const found = [];
  for (let at = text.indexOf(words); words && at >= 0; at = text.indexOf(words, at + 1)) {
    const end = at + words.length;
    const before = text.slice(0, at), begins = !ENDS_WORD.test(before) || !join(words, [...before].at(-1));
    if (begins && !continues(words, text.slice(end))) found.push([at, end]);
  }
  return found;
}

// Does a longer name than the one before `rest` end in it, as "George Bruce Malleson" after "George Bruce"?
function nameGoesOn(rest, particles) {
  if (/^\s*,?\s+(?:Jr|Sr|Junior|Senior|Esq|[IVX]+)(?![\p{L}\p{N}])/u.test(rest)) return true;
  return new RegExp(`^\\s+(?:(?:${particles})\\s+)*\\p{Lu}`, "u").test(rest);
}

// Does a line mention this name, and not as a part of a longer one, such as "Guinea" in "New Guinea"?
function holds(line, name, particles) {
  return wholeWords(name, line).some(
    ([start, end]) => !/\s\p{Lu}[\p{L}'\u2019-]*\s+$/u.test(line.slice(0, start)) &&
      !nameGoesOn(line.slice(end), particles),
  );
}

// The line about this name, or undefined: it begins with the name and a full stop, or else with no more of a name.
// Where lines begin with no names, the first that holds it as a whole.
function about(name, lines, particles, named = true) {
  const begun = name ? lines.filter((line) => line.startsWith(name) && !continues(name, line.slice(name.length))) : [];
  return (
    begun.find((line) => /^(?:\.(?:\s|$)|[\u3002\u06d4\u0964])/.test(line.slice(name.length))) ??
    begun.find((line) => !nameGoesOn(line.slice(name.length), particles)) ??
    (named ? undefined : lines.find((line) => holds(line, name, particles)))
  );
}

// [start, end] of the first mention of a place, or undefined: not in the name itself, nor York in New York.
function placeIn(place, line, name) {
  const names = wholeWords(name, line).slice(0, place === name ? 1 : undefined);
  return wholeWords(place, line).find(
    ([start, end]) =>
      !names.some(([from, to]) => from <= start && end <= to) && !/(?<!\p{L})New\s$/u.test(line.slice(0, start)),
  );
}

// How many letters must be typed anew, left out, added or swapped to get from one text to the other.
function distance(a, b) {
  const rows = [[...Array(b.length + 1).keys()]];
  for (let i = 1; i <= a.length; i++) {
    rows.push([i]);
    for (let j = 1; j <= b.length; j++) {
      const costs = [rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] !== b[j - 1])];
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) costs.push(rows[i - 2][j - 2] + 1);
      rows[i].push(Math.min(...costs));
    }
  }
  return rows[a.length][b.length];
}

// The name of another line that is spelt nearly so, or undefined.
function nearest(name, lines) {
  const begun = lines.map((line) => /^(.{0,98}?[\p{L}\p{N}_]{2})\.(?:\s|$)/u.exec(line)?.[1]);
  const titles = begun.filter((title) => title && title !== name);
  const close = titles.filter((title) => Math.abs(title.length - name.length) < 3);
  const far = close.map((title) => distance(plain(title), plain(name)));
  const best = Math.min(...far);
  return best <= Math.min(2, name.length / 4) ? close[far.indexOf(best)] : undefined;
}
