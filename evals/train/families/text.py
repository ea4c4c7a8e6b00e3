"""Everyday language work: classify, identify, extract, reformat, write."""

from __future__ import annotations

from random import Random

from evals.train.families import words as w
from evals.train.items import Item, Maker, exactly, first_word, json_with, label, number, prose, says, says_all

_SENTIMENT = (
    "Classify the sentiment of this review as positive or negative: '{t}'",
    "Classify the sentiment of: {t}",
    "Is the following review positive or negative? {t}.",
    "Classify the sentiment as positive or negative. Answer with one word.\n\n{t}",
    'Sentiment (positive/negative): "{t}"',
    "What is the sentiment of this text, positive or negative?\n{t}",
    "Label this customer comment as positive or negative: {t}",
    "Review: {t}.\nSentiment:",
    "Does the writer sound positive or negative? {t}",
    "Decide whether the text is positive or negative.\nText: {t}\nAnswer:",
    "Tell me if this feedback is positive or negative: {t}",
    "{t}\n\nIs that positive or negative?",
    "Determine the sentiment (positive or negative) of the sentence: {t}",
    'Please do sentiment analysis on this tweet: "{t}"',
)
_SENTIMENT_SYSTEM = (
    "Classify the sentiment of the user's message as positive or negative.",
    "You label reviews. Reply with 'positive' or 'negative' only.",
    "You are a sentiment classifier. Answer positive or negative.",
)


def _choice(rng: Random, *templates: str, **fields: object) -> str:
    return rng.choice(templates).format(**fields)


def sentiment(rng: Random) -> Item:
    """Positive or negative, asked in many ways; sometimes the instruction is in the system turn."""
    right = rng.choice(("positive", "negative"))
    text = rng.choice(w.GOOD if right == "positive" else w.BAD)
    check = label(right, ("positive", "negative"))
    if rng.random() < 0.2:  # noqa: PLR2004 - a fifth of the prompts
        return Item(text, check, system=rng.choice(_SENTIMENT_SYSTEM))
    return Item(rng.choice(_SENTIMENT).format(t=text), check)


def _two_ways(rng: Random, *templates: str, max_tokens: int = 48) -> Item:
    right = rng.choice(("positive", "negative"))
    texts = (*w.GOOD, *w.MORE_GOOD) if right == "positive" else (*w.BAD, *w.MORE_BAD)
    prompt = _choice(rng, *templates, t=rng.choice(texts))
    return Item(prompt, label(right, ("positive", "negative")), max_tokens=max_tokens)


def sentiment_binary(rng: Random) -> Item:
    """Positive or negative, with both labels named: the plain ways in which people ask a small model."""
    return _two_ways(
        rng,
        "Classify the sentiment as positive or negative. Answer with one word.\n\n{t}",
        "Classify the sentiment of this review as positive or negative: '{t}'",
        "Classify the sentiment of this review as positive or negative. Answer with one word: '{t}'",
        "Answer with one word, positive or negative. {t}",
        "Is this review positive or negative? Answer with one word.\n\n{t}",
        "Classify the sentiment as positive or negative: '{t}'",
        max_tokens=24,
    )


def sentiment_bare(rng: Random) -> Item:
    """Positive or negative, with no label named, the text mostly set off by quotes or by a word for what it is."""
    return _two_ways(
        rng,
        "Classify the sentiment of: '{t}'",
        'Classify the sentiment of: "{t}"',
        'Classify the sentiment of: "{t}."',
        "Classify the sentiment of: {t}.",
        "Classify the sentiment of this sentence: {t}.",
        "Classify the sentiment of this sentence: '{t}'",
        "What is the sentiment of: {t}",
        "What is the sentiment of: '{t}'",
    )


def sentiment_unquoted(rng: Random) -> Item:
    """Positive or negative, with no label named and nothing to tell the text from the instruction."""
    return _two_ways(
        rng,
        "Classify the sentiment of: {t}",
        "Classify the sentiment of: {t}.",
        "Classify the sentiment of: {t}!",
        "Classify the sentiment: {t}.",
        "Classify the sentiment of the following text: {t}.",
    )


def sentiment_three(rng: Random) -> Item:
    """Positive, negative or neutral."""
    right, texts = rng.choice((("positive", w.GOOD), ("negative", w.BAD), ("neutral", w.NEUTRAL)))
    prompt = _choice(
        rng,
        "Classify as positive, negative or neutral: {t}",
        "Is this text positive, negative or neutral?\n\n{t}",
        "Rate the tone of the message (positive / neutral / negative): {t}",
        t=rng.choice(texts),
    )
    return Item(prompt, label(right, ("positive", "negative", "neutral")))


def topic(rng: Random) -> Item:
    """Which of some topics a headline is about."""
    labels = rng.sample(sorted(w.TOPICS), rng.choice((3, 4, 5)))
    right = rng.choice(labels)
    listed = ", ".join(labels)
    prompt = _choice(
        rng,
        "Which topic fits best: {l}?\n\n{t}",
        "Classify this headline into one of these categories: {l}.\nHeadline: {t}",
        "Assign a category ({l}) to the sentence: {t}",
        'Topic of the text, one of {l}: "{t}"',
        "Is this about {l}? Name only one. {t}",
        l=listed,
        t=rng.choice(w.TOPICS[right]),
    )
    return Item(prompt, label(right, labels))


def language(rng: Random) -> Item:
    """Which language a sentence is in."""
    right = rng.choice(sorted(w.LANGUAGES))
    prompt = _choice(
        rng,
        "What language is this: '{t}'",
        "Identify the language of the following sentence.\n{t}",
        "In which language is this written? {t}",
        "Detect the language: {t}",
        'Name the language: "{t}"',
        t=rng.choice(w.LANGUAGES[right]),
    )
    return Item(prompt, label(right, w.LANGUAGES))


def spam(rng: Random) -> Item:
    """Spam or not."""
    is_spam = rng.random() < 0.5  # noqa: PLR2004 - a fair coin
    text = rng.choice(w.SPAM if is_spam else w.HAM)
    prompt = _choice(
        rng,
        "Is this message spam? Answer yes or no.\n\n{t}",
        "Does this email look like spam, yes or no? {t}",
        "Spam filter. Reply yes if the text is spam and no if it is not: {t}",
        t=text,
    )
    return Item(prompt, first_word("yes" if is_spam else "no", ("no",) if is_spam else ("yes",)))


def intent(rng: Random) -> Item:
    """Which team a support ticket belongs to."""
    right = rng.choice(sorted(w.INTENTS))
    prompt = _choice(
        rng,
        "Route this ticket to billing, technical, shipping or account: {t}",
        "Which department should handle it (billing, technical, shipping, account)? {t}",
        "Classify the customer's request as one of billing, technical, shipping, account.\n\n{t}",
        "Label the intent [billing|technical|shipping|account]: {t}",
        t=rng.choice(w.INTENTS[right]),
    )
    return Item(prompt, label(right, w.INTENTS))


def _sentence(rng: Random) -> tuple[str, dict[str, str]]:
    facts = {
        "name": f"{rng.choice(w.NAMES)} {rng.choice(w.SURNAMES)}",
        "amount": str(rng.randint(12, 980)),
        "date": f"{rng.randint(1, 28)} {rng.choice(w.MONTHS)}",
        "city": rng.choice(w.CITIES),
        "item": rng.choice(w.ITEMS),
    }
    text = _choice(
        rng,
        "{name} paid ${amount} for a {item} in {city} on {date}.",
        "On {date}, {name} from {city} ordered a {item} for ${amount}.",
        "The {item} was sold to {name} for ${amount} on {date} in {city}.",
        "Invoice of {date}: one {item}, total ${amount}, customer {name}, {city}.",
        "Hello, my name is {name}. I bought a {item} in {city} on {date} and it cost ${amount}.",
        **facts,
    )
    return text, facts


_ASK = {
    "name": ("Extract the name of the person", "Who is the customer? Give the full name", "Which person is mentioned"),
    "amount": ("Extract the amount of money", "How much was paid", "What is the total in dollars"),
    "date": ("Extract the date", "When did it happen", "Which date is mentioned"),
    "city": ("Extract the city", "Which city is mentioned", "Where did it happen"),
}


def _extract(field: str) -> Maker:
    def make(rng: Random) -> Item:
        text, facts = _sentence(rng)
        ask = rng.choice(_ASK[field])
        prompt = _choice(rng, "{a}: {t}", "{a}.\n\nText: {t}", "{t}\n\n{a}?", 'From the text "{t}": {a}', a=ask, t=text)
        others = [value for key, value in facts.items() if key in _ASK and key != field]
        right = facts[field]

        def check(answer: str) -> bool:
            # To repeat the whole sentence is not to extract.
            return says(right)(answer) and not says_all(*others)(answer)

        return Item(prompt, check)

    return make


def extract_json(rng: Random) -> Item:
    """Three fields as one JSON object."""
    text, facts = _sentence(rng)
    prompt = _choice(
        rng,
        'Extract name, city and item as JSON with the keys "name", "city" and "item".\n\n{t}',
        'Return a JSON object {{"name": ..., "city": ..., "item": ...}} for: {t}',
        "Turn this into JSON (keys name, city, item). Only JSON.\n{t}",
        t=text,
    )
    return Item(prompt, json_with(name=facts["name"], city=facts["city"], item=facts["item"]), max_tokens=80)


def date_format(rng: Random) -> Item:
    """A date from one notation into another."""
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1950, 2030)
    prompt = _choice(
        rng,
        "Write the date {d} {m} {y} in ISO format (YYYY-MM-DD).",
        "Convert '{m} {d}, {y}' to YYYY-MM-DD.",
        "Format {d} {m} {y} as YYYY-MM-DD",
        d=day,
        m=w.MONTHS[month - 1],
        y=year,
    )
    return Item(prompt, says(f"{year}-{month:02d}-{day:02d}"))


def csv_to_json(rng: Random) -> Item:
    """One CSV record into JSON."""
    name, city, age = rng.choice(w.NAMES), rng.choice(w.CITIES), rng.randint(18, 80)
    prompt = _choice(
        rng,
        "Convert this CSV to JSON:\nname,city,age\n{n},{c},{a}",
        "Give the row as a JSON object.\n\nname,city,age\n{n},{c},{a}",
        "Make JSON from the line '{n},{c},{a}' with the columns name, city, age.",
        n=name,
        c=city,
        a=age,
    )
    return Item(prompt, json_with(name=name, city=city, age=age), max_tokens=80)


def letter_case(rng: Random) -> Item:
    """A word in capitals."""
    word = rng.choice((*w.SENTENCE_WORDS, *w.ITEMS))
    prompt = _choice(
        rng, "Write the word '{x}' in upper case.", "Convert to uppercase: {x}", "{x} in capital letters", x=word
    )
    return Item(prompt, lambda answer: word.upper() in answer)


def spell(rng: Random) -> Item:
    """A word spelled backwards, or its letters counted."""
    word = rng.choice((*w.SENTENCE_WORDS, *w.ITEMS))
    if rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
        prompt = _choice(rng, "Spell '{x}' backwards.", 'Reverse the string "{x}".', "Write {x} in reverse", x=word)
        return Item(prompt, says(word[::-1], "-".join(word[::-1])))
    prompt = _choice(rng, "How many letters are in the word '{x}'?", 'Count the letters of "{x}".', x=word)
    return Item(prompt, number(len(word)))


def sort_words(rng: Random) -> Item:
    """Words in alphabetical order."""
    chosen = rng.sample(w.SENTENCE_WORDS, rng.choice((3, 4, 5, 7)))
    prompt = _choice(
        rng,
        "Sort these words alphabetically: {x}",
        "Put in alphabetical order: {x}",
        "Order the list from A to Z.\n{x}",
        x=", ".join(chosen),
    )
    right = sorted(chosen)

    def check(answer: str) -> bool:
        plain = answer.lower()
        at = [plain.rfind(word) for word in right]
        return -1 not in at and at == sorted(at)

    return Item(prompt, check, max_tokens=64)


def repeat(rng: Random) -> Item:
    """Say a sentence again, word for word."""
    text = rng.choice((*w.HAM, *w.NEUTRAL)).rstrip("?.")
    prompt = _choice(rng, "Repeat exactly: {t}", "Say this back to me word for word: {t}", "Echo: {t}", t=text)
    return Item(prompt, exactly(text))


def greet(rng: Random) -> Item:
    """Small talk."""
    prompt = rng.choice(
        (
            "Hi!", "Hello, how are you?", "Good morning", "Hey there, nice to meet you", "Thanks for your help!",
            "hi, what can you do for me?", "Good evening! How is your day?", "Say hello to my friend Anna", "yo",
            "Goodbye, see you tomorrow", "Hello! Are you there?", "Thank you so much", "Tell me something nice",
            "hey, who are you?", "How do you do?", "Wish me good luck", "Happy birthday!", "I am a bit tired today",
        )
    )  # fmt: skip
    return Item(prompt, prose(least_words=2, most_words=60), max_tokens=64)


def use_word(rng: Random) -> Item:
    """A sentence with a given word."""
    word = rng.choice(w.SENTENCE_WORDS)
    prompt = _choice(
        rng,
        "Write one sentence that contains the word '{x}'.",
        'Use "{x}" in a sentence.',
        "Give me an example sentence with the word {x}",
        x=word,
    )
    return Item(prompt, prose(word, least_words=4, most_words=45), max_tokens=64)


def write_mail(rng: Random) -> Item:
    """A short letter that must name who, what and when."""
    name, item, day = rng.choice(w.NAMES), rng.choice(w.ITEMS), rng.choice(w.DAYS)
    prompt = _choice(
        rng,
        "Write a short email to {n} saying that the {i} will arrive on {d}.",
        "Draft a polite note to {n}: the {i} is delayed until {d}.",
        "Compose a message asking {n} to return the {i} by {d}.",
        n=name,
        i=item,
        d=day,
    )
    return Item(prompt, prose(name, item, day, least_words=12, most_words=160), max_tokens=160)


def summarise(rng: Random) -> Item:
    """One sentence that keeps who and what."""
    sentences = [_sentence(rng) for _ in range(1)]
    text, facts = sentences[0]
    filler = rng.sample((*w.NEUTRAL, *w.TOPICS["travel"]), 3)
    prompt = _choice(
        rng,
        "Summarise in one sentence: {t}",
        "TL;DR of this text, at most 25 words:\n\n{t}",
        "Give me a one-line summary.\n{t}",
        t=" ".join([text, *(f"{one}." for one in filler)]),
    )
    return Item(prompt, prose(facts["name"].split()[1], facts["item"], least_words=4, most_words=32), max_tokens=80)


FAMILIES: dict[str, Maker] = {
    "sentiment": sentiment,
    "sentiment-binary": sentiment_binary,
    "sentiment-bare": sentiment_bare,
    "sentiment-unquoted": sentiment_unquoted,
    "sentiment-three": sentiment_three,
    "topic": topic,
    "language": language,
    "spam": spam,
    "intent": intent,
    "extract-name": _extract("name"),
    "extract-amount": _extract("amount"),
    "extract-date": _extract("date"),
    "extract-city": _extract("city"),
    "extract-json": extract_json,
    "date-format": date_format,
    "csv-to-json": csv_to_json,
    "letter-case": letter_case,
    "spell": spell,
    "sort-words": sort_words,
    "repeat": repeat,
    "greet": greet,
    "use-word": use_word,
    "write-mail": write_mail,
    "summarise": summarise,
}
