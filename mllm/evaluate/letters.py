"""Which option an answer names, as lmms-eval 0.7.3 reads it in MMBench without a service: the same letter for the same text.

MMBench first looks for one option's letter or text alone (`inferred`), then for the likeliest letter (`likeliest`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

_AROUND = ("{}", "{}.", "{},", "{}:", "{})", "{}).", "({})", "({}).", ":{}", ":{},", ":{}.", ":{})", ":{}).")
"""Forms of a letter among the words of an answer; the first that one letter alone has counts."""
_WORDS = 3
"""Of an answer with more words A may be the article."""
_PHRASES = (
    *(
        "the answer is",
        "answer is",
        "the correct answer is",
        "correct answer is",
        "the best answer is",
        "best answer is",
    ),
    *("the correct option is", "correct option is", "the best option is", "best option is"),
    *("the choice is", "choice is", "the correct choice is", "correct choice is"),
    *("i choose", "i select", "i pick", "my answer is", "my choice is"),
    *("옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)


def option_named(answer: str, options: Mapping[str, str]) -> str:
    """The letter of an answer; empty where it names none.

    Args:
        options: text by letter, of A to D.
    """
    return inferred(answer, options) or likeliest(answer, sorted(options))


def inferred(answer: str, options: Mapping[str, str]) -> str:
    """One letter from A to E alone among the words, or one option's text alone within the answer; else empty."""
    if "Failed to obtain answer via API" not in answer:
        words = answer.split()
        for form in _AROUND:
            found = [letter for letter in "ABCDE" if form.format(letter) in words]
            article = form == "{}" and "A" in words and len(words) > _WORDS
            if len(found) == 1 and not article:
                return found[0]
    told = [letter for letter, text in options.items() if str(text).lower() in answer.lower()]
    return told[0] if len(told) == 1 else ""


def likeliest(answer: str, letters: Sequence[str]) -> str:
    """The letter in the form that says most, of those the last; empty where there is none."""
    text = answer.strip()
    for mark in (",", ".", "!", "?", ";", ":", "'", '"'):
        text = text.strip(mark)
    if not answer.strip():
        return ""
    found = list(_sightings(f" {text} ", letters))
    # Of equal ones the first stands, as in a stable sort from above.
    return max(found, key=lambda each: each[:2])[2] if found else ""


def _sightings(text: str, letters: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """How much a form says, where it is, and the letter."""
    bare, none = text.strip(), True
    for form, weight in (("({})", 6), ("{}.", 5), ("{}:", 4), ("{})", 3), ("{} ", 2)):
        for letter in letters:
            if (place := text.rfind(form.format(letter))) >= 0:
                none = False
                yield weight, place, letter
    for phrase in _PHRASES:
        if (start := text.lower().find(phrase)) >= 0:
            for letter in letters:
                if (place := text.find(letter, start + len(phrase))) >= 0:
                    none = False
                    yield 7, place, letter
    for letter in letters:
        if bare.startswith(letter) and not bare[1:2].isalpha():
            none = False
            yield 10, 0, letter
        if bare.endswith(letter) and not bare[-2:-1].isalpha():
            none = False
            yield 9, len(text) - 1, letter
    if none:
        yield from ((0, text.rfind(letter), letter) for letter in letters if letter in text)
