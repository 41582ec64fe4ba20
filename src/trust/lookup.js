// Who is asked about, and what the texts say of them: people.py for the names that are typed into the report's page.
// These functions take plain data and know nothing of the page; the tests compare them with people.py.
"use strict";

// The name in what somebody typed: a name alone stands for "Where was NAME born?".
function nameIn(typed) {
  const asked = typed.trim().replace(/\s+/g, " ");
  const found = /^where(?: was| is|['\u2019]s) (.+?) born\b[\s?.!]*$/i.exec(asked);
  return (found ? found[1] : asked).replace(/[?\s]+$/, "");
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

// Does a word that ends before `rest` continue in it? "Milan's" and "Milan-born" end with Milan, "Rome-Nice" does not.
function continues(rest) {
  if (/^(?:['\u2019]s|[-\u2010\u2011](?:born|based|bred|raised|educated))(?![\p{L}\p{N}])/u.test(rest)) return false;
  return STARTS_WORD.test(rest.replace(/^[-\u2010\u2011'\u2019]/, ""));
}

// [start, end] of each place where `words` stand as whole words.
function wholeWords(words, text) {
  const found = [];
  for (let at = text.indexOf(words); words && at >= 0; at = text.indexOf(words, at + 1)) {
    const end = at + words.length;
    if (!ENDS_WORD.test(text.slice(0, at)) && !continues(text.slice(end))) found.push([at, end]);
  }
  return found;
}

// Does a longer name than the one before `rest` end in it, as "George Bruce Malleson" after "George Bruce"?
function nameGoesOn(rest, particles) {
  if (/^\s*,?\s+(?:Jr|Sr|Junior|Senior|Esq|[IVX]+)(?![\p{L}\p{N}])/u.test(rest)) return true;
  return new RegExp(`^\\s+(?:(?:${particles})\\s+)*\\p{Lu}`, "u").test(rest);
}

// The line about this person, or undefined: it begins with the name and a full stop, or else with no more of a name.
function about(name, lines, particles) {
  const begun = name ? lines.filter((line) => line.startsWith(name) && !continues(line.slice(name.length))) : [];
  return (
    begun.find((line) => /^\.(?:\s|$)/.test(line.slice(name.length))) ??
    begun.find((line) => !nameGoesOn(line.slice(name.length), particles))
  );
}

// [start, end] of the first mention of a place, or undefined: not in the person's own name, nor York in New York.
function placeIn(place, line, name) {
  const names = wholeWords(name, line);
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
