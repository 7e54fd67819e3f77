// Marks the words of a query in a text that the server sends without marks: the cues of a video. Words match by rough
// stems: one mark too many or too few does no harm. The result is text (see `marked` in format.js), no nodes.

const [MARK, UNMARK] = ["\uE000", "\uE001"];

/** The parts of a query: -exclusions, filters such as in:Invoices, "phrases", words. As in indexer/search/query_syntax.py. */
const PART = /(-?)(?:([a-z]+):)?(?:"([^"]*)"|(\S+))/gi;
const WORD = /[\p{L}\p{N}\p{M}]+/gu;
/** Scripts without spaces between words: the characters of the query are marked wherever they occur. */
const UNSPACED = /[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]/;

/** As in indexer/search/text_search.py; marked only if a query has no other words. */
const STOPS =
  "a an and are as at be by for from has have how i in into is it its my of on or our over that the their there " +
  "these this to under was were what when where which who with without you your";
export const STOP_WORDS = new Set(STOPS.split(" "));

/** A function that marks the words of a query in a text. @param {string} q */
export function marking(q) {
  const texts = [...q.replace(/[“”]/g, '"').matchAll(PART)].filter(([, minus, filter]) => !minus && !filter);
  const all = texts.flatMap(([, , , phrase, word]) => (phrase ?? word).match(WORD) ?? []);
  const specific = all.filter((word) => !STOP_WORDS.has(word.toLowerCase()));
  const words = specific.length ? specific : all;
  const stems = new Set(words.filter((word) => !UNSPACED.test(word)).map(stem));
  const parts = words.filter((word) => UNSPACED.test(word)).sort((a, b) => b.length - a.length); // the longest first
  const within = parts.length ? new RegExp(parts.join("|"), "g") : null;
  return (/** @type {string} */ text) =>
    text.replace(WORD, (word) => {
      if (UNSPACED.test(word)) return within ? word.replace(within, `${MARK}$&${UNMARK}`) : word;
      return stems.has(stem(word)) ? MARK + word + UNMARK : word;
    });
}

/** A rough stem, the same for boats, boat; cities, city; baked, baking, bake; café, cafe. @param {string} word */
function stem(word) {
  const letters = word.normalize("NFD").replace(/[\u0300-\u036f]/g, "");
  const plain = letters.toLowerCase();
  if (plain.length < 4) return plain;
  return plain
    .replace(/ie[sd]$/, "y")
    .replace(/(?<![su])s$/, "")
    .replace(/(?<=[aeiouy].*.)(?:ing|(?<!e)ed)$/, "")
    .replace(/([bdfgmnprt])\1$/, "$1")
    .replace(/(?<=..)e$/, "")
    .replace(/y$/, "i");
}
