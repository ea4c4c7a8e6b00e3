"""What people ask of a chat model in passing: plain facts, conversions, lists, small puzzles, a few lines of text."""

# ruff: noqa: E501 - tables read best in rows

from __future__ import annotations

from random import Random

from evals.train.families import words as w
from evals.train.items import Check, Item, Maker, first_word, label, number, prose, says

# Templates, and what they are filled with -> the answers that are right (`|` between them).
_FACTS: dict[str, tuple[tuple[str, ...], str]] = {
    "colour": (
        ("What colour is {x}?", "Colour of {x}?", "Which color does {x} have? One word.", "{x}: what color is it usually?"),
        "grass=green,snow=white,the sky on a clear day=blue,blood=red,a ripe banana=yellow,coal=black,a carrot=orange,milk=white,an emerald=green,a ruby=red,the sun in a child's drawing=yellow,chocolate=brown,a lemon=yellow,a flamingo=pink",
    ),
    "element": (
        ("What is the chemical symbol of {x}?", "Chemical symbol for {x}:", "Which symbol does {x} have in the periodic table?"),
        "hydrogen=H,oxygen=O,gold=Au,silver=Ag,iron=Fe,sodium=Na,carbon=C,helium=He,potassium=K,copper=Cu,lead=Pb,nitrogen=N,calcium=Ca,tin=Sn,mercury=Hg,zinc=Zn",
    ),
    "continent": (
        ("On which continent is {x}?", "Which continent does {x} belong to?", "{x} lies in ... (name the continent)", "Continent of {x}?"),
        "Japan=asia,France=europe,Kenya=africa,Brazil=south america,Canada=north america,Egypt=africa,India=asia,Germany=europe,Argentina=south america,Mexico=north america,China=asia,Nigeria=africa,Spain=europe,Peru=south america,Vietnam=asia",
    ),
    "author": (
        ("Who wrote {x}?", "Author of {x}?", "By whom is the book {x}?", "Name the writer of '{x}'."),
        "Hamlet=shakespeare,Pride and Prejudice=austen,1984=orwell,War and Peace=tolstoy,Don Quixote=cervantes,Moby-Dick=melville,The Odyssey=homer,Oliver Twist=dickens,Harry Potter=rowling,The Hobbit=tolkien,Crime and Punishment=dostoevsky|dostoyevsky,Frankenstein=shelley,The Metamorphosis=kafka,Faust=goethe,Les Misérables=hugo",
    ),
    "currency": (
        ("What is the currency of {x}?", "Currency in {x}?", "With which money do people pay in {x}?"),
        "Japan=yen,the United Kingdom=pound|pounds|sterling,the USA=dollar|dollars,India=rupee|rupees,China=yuan|renminbi,Germany=euro|euros,Russia=ruble|rouble|rubles,Switzerland=franc|francs,Mexico=peso|pesos,Poland=zloty|złoty,Turkey=lira,Sweden=krona|kronor,South Korea=won,France=euro|euros",
    ),
    "animal-sound": (
        ("What sound does {x} make?", "Which noise does {x} make? One word.", "How does {x} go?"),
        "a cow=moo|moos|mooing,a dog=bark|woof|barks|barking,a cat=meow|purr|miaow|meows|meowing,a duck=quack|quacks|quacking,a lion=roar|roars|roaring,a sheep=baa|bleat|bleats|bleating,a pig=oink|grunt|oinks,a snake=hiss|hisses|hissing,a bee=buzz|buzzing|buzzes,a wolf=howl|howls|howling",
    ),
    "convert": (
        ("How many {x}?", "How many {x}? Only the number.", "Tell me how many {x}."),
        "metres are in 3 kilometres=3000,minutes are in 2 hours=120,grams are in half a kilogram=500,centimetres are in 2.5 metres=250,days are in 3 weeks=21,seconds are in 5 minutes=300,millilitres are in 1.5 litres=1500,hours are in 4 days=96,inches are in 2 feet=24,months are in 3 years=36,cents are in 7 dollars=700,feet are in 4 yards=12,years are in 3 decades=30,kilograms are in 2 tonnes=2000",
    ),
    "roman": (
        ("What is {x} as a normal number?", "Convert the Roman numeral {x}.", "Which number is {x}?"),
        "IV=4|four,IX=9|nine,XII=12|twelve,XV=15|fifteen,XX=20|twenty,XL=40|forty,L=50|fifty,C=100,VII=7|seven,XIV=14|fourteen,XIX=19,XXX=30|thirty,LX=60|sixty,M=1000,D=500",
    ),
}  # fmt: skip
_LISTS: dict[str, str] = {
    "fruits": "apple banana orange grape mango pear peach strawberry blueberry cherry kiwi pineapple lemon watermelon raspberry plum grapes apples bananas oranges strawberries blueberries mangoes pears peaches cherries",
    "colours": "red blue green yellow orange purple black white pink brown grey gray violet",
    "animals": "dog cat lion tiger elephant horse cow bear monkey bird fish giraffe zebra rabbit wolf fox dogs cats lions tigers elephants horses bears penguin snake sheep pig",
    "European countries": "france germany italy spain portugal poland norway sweden finland greece austria belgium netherlands denmark ireland switzerland hungary england",
    "planets": "mercury venus earth mars jupiter saturn uranus neptune",
    "vegetables": "carrot carrots broccoli spinach potato potatoes onion onions cabbage lettuce kale cucumber peas celery cauliflower tomatoes zucchini peppers garlic",
    "musical instruments": "guitar piano violin drums drum flute trumpet saxophone cello clarinet harp bass",
    "sports": "football soccer tennis basketball swimming baseball hockey golf volleyball rugby cricket running cycling boxing",
    "programming languages": "python java javascript c ruby go rust php swift kotlin perl",
    "days of the weekend": "saturday sunday",
}
_EXPLAIN: dict[str, tuple[str, ...]] = {
    "photosynthesis": ("light|sunlight", "carbon dioxide", "oxygen", "plants|plant"),
    "gravity": ("mass|masses", "force|attraction", "earth|objects"),
    "inflation in an economy": ("prices|price", "money|purchasing power", "goods"),
    "a volcano": ("magma|lava", "surface|crust", "eruption|erupts|erupt"),
    "the water cycle": ("evaporation|evaporates", "condensation|condenses|clouds", "precipitation|rain"),
    "democracy": ("people|citizens", "vote|elections|voting|elect", "government|power"),
    "a vaccine": ("immune", "virus|disease|pathogen|pathogens", "antibodies|protection|protect"),
    "recursion in programming": ("function", "itself", "base case|stop|condition"),
    "an eclipse of the sun": ("moon", "earth", "between|shadow|blocks"),
    "supply and demand": ("price|prices", "supply", "demand", "market|consumers|buyers"),
    "a black hole": ("gravity|gravitational", "light", "escape"),
    "the difference between weather and climate": ("long|average|years", "short|daily|current|day"),
}


def _fact(family: str) -> Maker:
    templates, table = _FACTS[family]
    pairs = [pair.rsplit("=", 1) for pair in table.split(",")]

    def make(rng: Random) -> Item:
        asked, right = rng.choice(pairs)
        check = number(float(right)) if right.isdigit() else says(*right.split("|"))
        return Item(rng.choice(templates).format(x=asked), check)

    return make


def list_some(rng: Random) -> Item:
    """Some things of a kind."""
    kind = rng.choice(sorted(_LISTS))
    known = _LISTS[kind].split()
    wanted = 2 if len(known) == 2 else rng.choice((2, 3, 5))  # noqa: PLR2004 - a weekend has two days
    form = rng.choice(("Name {n} {k}.", "List {n} {k}", "Give me {n} {k}, separated by commas.", "{n} {k}?"))

    def check(answer: str) -> bool:
        return sum(says(one)(answer) for one in known) >= wanted

    return Item(form.format(n=wanted, k=kind), check, max_tokens=64)


def multiple_choice(rng: Random) -> Item:
    """A question of general knowledge with four options; the letter is wanted."""
    country = rng.choice(sorted(w.CAPITALS))
    question, right = f"What is the capital of {country}?", w.CAPITALS[country]
    options = [right, *rng.sample([city for city in sorted(w.CAPITALS.values()) if city != right], 3)]
    rng.shuffle(options)
    letter = "ABCD"[options.index(right)]
    listed = "\n".join(f"{name}. {option}" for name, option in zip("ABCD", options, strict=True))
    form = rng.choice(
        (
            "{q}\n{o}\nAnswer with the letter only.",
            "Choose the right answer.\n\n{q}\n{o}\n\nAnswer:",
            "{q}\n{o}\nWhich option is correct?",
        )
    )

    def check(answer: str) -> bool:
        named = label(right, options)(answer)
        return named or label(letter.lower(), "abcd")(answer.split(".", maxsplit=1)[0][:24])

    return Item(form.format(q=question, o=listed), check)


def odd_one_out(rng: Random) -> Item:
    """The one word that does not fit."""
    kind, other = rng.sample(sorted(w.CATEGORIES), 2)
    odd = rng.choice(w.CATEGORIES[other])
    shown = [*rng.sample(w.CATEGORIES[kind], 3), odd]
    rng.shuffle(shown)
    form = rng.choice(
        ("Which does not belong: {x}?", "Find the odd one out: {x}", "One of these is different. Which? {x}")
    )
    return Item(form.format(x=", ".join(shown)), label(odd, shown))


def heavier(rng: Random) -> Item:
    """Which of two things has more of a property: common sense."""
    order = {
        "heavier": ("ant", "mouse", "cat", "horse", "elephant", "blue whale"),
        "faster": ("snail", "tortoise", "bicycle", "car", "jet plane"),
        "bigger": ("pea", "apple", "football", "house", "mountain", "planet"),
        "hotter": ("ice cube", "warm bath", "boiling water", "lava", "core of the sun"),
    }
    more = rng.choice(sorted(order))
    i, j = sorted(rng.sample(range(len(order[more])), 2))
    low, high = order[more][i], order[more][j]
    a, b = rng.sample((low, high), 2)
    form = rng.choice(("Which is {m}: the {a} or the {b}?", "Is the {a} or the {b} {m}?", "What is {m}, {a} or {b}?"))
    return Item(form.format(m=more, a=a, b=b), label(high, (low, high)))


def extract_contact(rng: Random) -> Item:
    """An address, a number or a link out of a text."""
    name = rng.choice(w.NAMES)
    mail, phone = f"{name.lower()}@{rng.choice(('example', 'acme', 'mail'))}.com", f"+49 30 {rng.randint(10**5, 10**6)}"
    order = f"{rng.choice('ABCDEFG')}{rng.randint(1000, 9999)}"
    text = f"Hello, this is {name}. My order {order} has not come. Write to {mail} or call {phone}."
    what, right = rng.choice((("email address", mail), ("phone number", phone), ("order number", order)))
    form = rng.choice(("Extract the {w}: {t}", "{t}\n\nWhat is the {w}?", "Find the {w} in this text.\n\n{t}"))
    others = [one for one in (mail, phone, order) if one != right]
    return Item(
        form.format(w=what, t=text), lambda answer: right in answer and not any(one in answer for one in others)
    )


def bullet_list(rng: Random) -> Item:
    """Words into a list of bullets."""
    chosen = rng.sample(w.ITEMS, rng.choice((3, 4)))
    form = rng.choice(("Make a bullet list of: {x}", "Format as a markdown list: {x}", "Turn into bullets: {x}"))

    def check(answer: str) -> bool:
        lines = [line.strip().lower() for line in answer.splitlines() if line.strip().startswith(("-", "*", "•"))]
        return len(lines) == len(chosen) and all(any(one in line for line in lines) for one in chosen)

    return Item(form.format(x=", ".join(chosen)), check, max_tokens=80)


def write_text(rng: Random) -> Item:
    """A few lines about something: judged by length, subject and not going round in circles."""
    about = rng.choice(w.SENTENCE_WORDS)
    form, least = rng.choice(
        (
            ("Write a short poem about a {x}.", 12),
            ("Write a two-sentence story about a {x}.", 10),
            ("Describe a {x} in a few sentences.", 12),
            ("Write a slogan with the word {x}.", 3),
            ("Tell me a short story that has a {x} in it.", 25),
            ("Write a product description for a {x} postcard.", 15),
        )
    )
    return Item(form.format(x=about), prose(about, least_words=least, most_words=200), max_tokens=160)


def explain(rng: Random) -> Item:
    """An explanation that must name what matters."""
    what = rng.choice(sorted(_EXPLAIN))
    form = rng.choice(
        ("Explain {x}.", "What is {x}? Explain in two sentences.", "Explain {x} to a child.", "define {x}")
    )
    must = _EXPLAIN[what]

    def check(answer: str) -> bool:
        named = all(says(*one.split("|"))(answer) for one in must)
        return named and prose(least_words=10, most_words=220)(answer)

    return Item(form.format(x=what), check, max_tokens=160)


def clock(rng: Random) -> Item:
    """A time some minutes on, in words of every day: two steps."""
    name, hour, minute, more = (
        rng.choice(w.NAMES),
        rng.randint(7, 20),
        rng.choice((5, 15, 20, 40, 50)),
        rng.randint(2, 9),
    )
    minutes = more * 15
    end = hour * 60 + minute + minutes
    right = f"{end // 60}:{end % 60:02d}"
    form = rng.choice(
        (
            "{n}'s train leaves at {s} and takes {m} minutes. When does it arrive?",
            "A lesson starts at {s} and lasts {m} minutes. At what time does it end?",
            "{n} puts a cake into the oven at {s}. It needs {m} minutes. When is it done?",
        )
    )
    twelve = f"{(end // 60 - 1) % 12 + 1}:{end % 60:02d}"
    return Item(form.format(n=name, s=f"{hour}:{minute:02d}", m=minutes), says(right, twelve), max_tokens=120)


def riddle(rng: Random) -> Item:
    """Small puzzles of several steps: ages, directions, prices, shares."""
    a, b = rng.sample(w.NAMES, 2)
    n, m, k = rng.randint(3, 12), rng.randint(2, 5), rng.randint(2, 9)
    prompt, right = rng.choice(
        (
            (f"{a} is {n} years older than {b}. In {k} years {b} will be {n + k}. How old is {a} now?", float(2 * n)),
            (f"{a} and {b} share {n * (m + 1)} sweets so that {a} gets {m} times as many as {b}. How many does {b} get?", float(n)),
            (f"A book costs ${n} more than a pen. Together they cost ${n + 2 * k}. What does the pen cost?", float(k)),
            (f"{n} workers need {m * k} days for a wall. How many days do {n * m} workers need?", float(k)),
            (f"{a} reads {m} pages on the first day and {k} pages more on each following day. How many pages does {a} read on day {n}?", float(m + k * (n - 1))),
            (f"There are {n + 5} people in a room. Everyone shakes hands once with everyone else. How many handshakes are there?", (n + 5) * (n + 4) / 2),
        )
    )  # fmt: skip
    return Item(prompt, number(right), max_tokens=200)


def directions(rng: Random) -> Item:
    """Which way someone faces after some turns."""
    sides = ("north", "east", "south", "west")
    at = rng.randrange(4)
    turns = [rng.choice((("right", 1), ("left", -1), ("around", 2))) for _ in range(rng.choice((2, 3, 4)))]
    end = sides[(at + sum(by for _, by in turns)) % 4]
    name = rng.choice(w.NAMES)
    told = ", then ".join(f"turns {word}" for word, _ in turns)
    return Item(f"{name} faces {sides[at]}, {told}. Which direction does {name} face now?", _last_said(end, sides), max_tokens=120)  # fmt: skip


def _last_said(right: str, labels: tuple[str, ...]) -> Check:
    def check(answer: str) -> bool:
        at = {one: answer.lower().rfind(one) for one in labels}
        return at[right] >= 0 and max(at, key=lambda one: at[one]) == right

    return check


def claim(rng: Random) -> Item:
    """Whether a plain sentence is true."""
    true = rng.random() < 0.5  # noqa: PLR2004 - a fair coin
    text = rng.choice(
        ("Fish can breathe under water", "Two is less than five", "Fire is hot", "Paris is in France", "Bees can fly", "Humans need water to live", "A week has seven days", "Cats are animals")
        if true
        else ("The moon is made of cheese", "Cows lay eggs", "Ice is hotter than fire", "Berlin is in Spain", "Five is less than two", "Humans have four arms", "A week has nine days", "Stones can swim by themselves")
    )  # fmt: skip
    form = rng.choice(("True or false: {t}.", "Is the following true or false? {t}.", "{t}. Right: true or false?"))
    return Item(form.format(t=text), label("true" if true else "false", ("true", "false")))


def choose_tool(rng: Random) -> Item:
    """Which of some named functions a request needs."""
    tools = {
        "get_weather": ("Will it rain in Oslo tomorrow?", "How warm is it in Madrid?"),
        "send_email": ("Tell Anna by mail that I am late", "Write to the landlord about the heating"),
        "set_alarm": ("Wake me at seven", "I must get up at 5:30 tomorrow"),
        "play_music": ("Put on some jazz", "I want to hear the new album"),
    }
    right = rng.choice(sorted(tools))
    form = rng.choice(
        ("Functions: {l}. Which one is needed for: {t}", "Choose one of {l} for the request '{t}'.", "{t}\nTool ({l}):")
    )
    return Item(form.format(l=", ".join(tools), t=rng.choice(tools[right])), label(right, tools))


def mentions(rng: Random) -> Item:
    """Whether a text mentions something."""
    there = rng.random() < 0.5  # noqa: PLR2004 - a fair coin
    item, other = rng.sample(w.ITEMS, 2)
    text = f"{rng.choice(w.NAMES)} bought a {item} in {rng.choice(w.CITIES)}."
    form = rng.choice(("Does this text mention a {x}? Answer yes or no. {t}", "{t} Is a {x} mentioned? Yes or no."))
    right = "yes" if there else "no"
    return Item(form.format(x=item if there else other, t=text), first_word(right, ({"yes", "no"} - {right})))


FAMILIES: dict[str, Maker] = {
    **{family: _fact(family) for family in _FACTS},
    "list-some": list_some,
    "multiple-choice": multiple_choice,
    "odd-one-out": odd_one_out,
    "heavier": heavier,
    "extract-contact": extract_contact,
    "bullet-list": bullet_list,
    "write-text": write_text,
    "explain": explain,
    "clock": clock,
    "riddle": riddle,
    "directions": directions,
    "claim": claim,
    "choose-tool": choose_tool,
    "mentions": mentions,
}
