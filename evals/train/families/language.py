"""About words and sentences: tell their tone, change their form, mend them, fill them in."""

# ruff: noqa: E501 - tables read best in rows

from __future__ import annotations

from random import Random

from evals.train.items import Item, Maker, first_word, label, number, says

Table = dict[str, tuple[str, ...]]

_TEMPLATES: dict[str, tuple[str, ...]] = {
    "emotion": ("Which emotion does the text show: {l}?\n\n{t}", "Classify the emotion ({l}): {t}", "Emotion of '{t}', one of {l}:", "Label the feeling as {l}. {t}", "{t}\nIs this {l}? Answer with one word."),
    "register": ("Is this sentence {l}? {t}", "Classify the register as {l}: {t}", "Say whether the following is {l}.\n\n{t}", "Label as {l}: '{t}'"),
    "manners": ("Is this comment {l}? {t}", "Classify the tone as {l}. Answer with one word.\n\n{t}", "Moderate this message, answer {l}: {t}", "Tone ({l}): \"{t}\""),
    "urgency": ("Is this ticket {l}? {t}", "Set the priority to {l}: {t}", "Triage. Answer {l} only.\n\n{t}"),
    "sentence-type": ("Is this a {l}? {t}", "What type of sentence is it, {l}?\n{t}", "Classify as {l}: {t}"),
}  # fmt: skip
_TEXTS: dict[str, Table] = {
    "emotion": {
        "joy": ("I got the job and I cannot stop smiling", "We danced all night at my sister's wedding", "My baby took her first steps today", "Finally the holidays are here", "They said yes to my proposal"),
        "anger": ("How dare they cancel without a word", "He lied to me again and I have had enough", "I am furious about this bill", "Stop ignoring my calls", "They towed my car for nothing"),
        "sadness": ("My dog died last night", "I miss my old friends so much", "Nobody came to my birthday", "I cried on the whole way home", "Since she left the house is empty"),
        "fear": ("Someone is following me in the dark", "I am scared of the operation tomorrow", "There is a strange noise in the cellar", "What if the plane crashes", "My hands shake before every exam"),
    },
    "register": {
        "formal": ("We hereby confirm receipt of your application", "Please find attached the documents requested", "I would be grateful for your reply at your earliest convenience", "The committee regrets to inform you of its decision"),
        "informal": ("hey dude, wanna grab a pizza?", "gonna be late, sorry!!", "lol that was so funny", "nah, I'm good, see ya later", "what's up guys"),
    },
    "manners": {
        "polite": ("Thank you very much for your patience", "Could you please send me the file?", "I appreciate your help", "Sorry to bother you, may I ask a question?", "Have a lovely weekend"),
        "rude": ("Shut up, you idiot", "You are completely useless", "Nobody asked for your stupid opinion", "Get lost, moron", "What a pathetic excuse for a worker"),
    },
    "urgency": {
        "urgent": ("The whole site is down and customers cannot pay", "There is smoke in the server room", "The production database was deleted", "We lose money every minute, please call now"),
        "normal": ("Could you change my avatar some time?", "A small typo on the about page", "I would like a darker theme one day", "Please add me to the newsletter"),
    },
    "sentence-type": {
        "question": ("Where did you put the keys?", "Have you seen the new film?", "How long is the bridge?", "Are they at home?"),
        "command": ("Close the door", "Bring me the report", "Turn left at the corner", "Wash your hands"),
        "statement": ("The door is closed", "The train leaves at nine", "My uncle lives in Canada", "It rained yesterday"),
    },
}  # fmt: skip


def _classify(family: str) -> Maker:
    def make(rng: Random) -> Item:
        texts = _TEXTS[family]
        right = rng.choice(sorted(texts))
        labels = sorted(texts)
        rng.shuffle(labels)
        listed = f"{', '.join(labels[:-1])} or {labels[-1]}"
        prompt = rng.choice(_TEMPLATES[family]).format(l=listed, t=rng.choice(texts[right]))
        return Item(prompt, label(right, labels))

    return make


# Templates, and what they are filled with -> the answers that are right (`|` between them).
_FORMS: dict[str, tuple[tuple[str, ...], str]] = {
    "plural": (
        ("What is the plural of '{x}'?", "Plural of {x}:", "Give the plural form of the noun {x}."),
        "child=children,mouse=mice,city=cities,leaf=leaves,man=men,box=boxes,baby=babies,knife=knives,foot=feet,dog=dogs,potato=potatoes,sheep=sheep,church=churches,tooth=teeth,wolf=wolves,bus=buses,car=cars,woman=women",
    ),
    "past-tense": (
        ("What is the past tense of '{x}'?", "Past tense of {x}:", "Put the verb '{x}' into the simple past.", "{x} - past form?"),
        "go=went,eat=ate,run=ran,write=wrote,play=played,swim=swam,buy=bought,think=thought,take=took,sing=sang,walk=walked,see=saw,bring=brought,fly=flew,break=broke,teach=taught,drink=drank,give=gave",
    ),
    "synonym": (
        ("Give a synonym of '{x}'.", "Another word for {x}:", "What is a synonym for {x}? One word.", "Name one word that means the same as {x}."),
        "happy=glad|joyful|cheerful|content|joyous|delighted,big=large|huge|great|enormous,quick=fast|rapid|swift|speedy,begin=start|commence,smart=clever|intelligent|bright,angry=mad|furious|irate,sad=unhappy|sorrowful|gloomy|melancholy,small=little|tiny|minute|petite,brave=courageous|bold|fearless|valiant,rich=wealthy|affluent|prosperous,beautiful=pretty|lovely|gorgeous|stunning|attractive,difficult=hard|challenging|tough,quiet=silent|calm|still|peaceful,help=assist|aid|support",
    ),
    "rhyme": (
        ("Name a word that rhymes with '{x}'.", "What rhymes with {x}?", "Give me one rhyme for {x}."),
        "cat=hat|bat|mat|rat|sat|fat|that|flat|chat,moon=soon|noon|spoon|tune|june,day=way|say|play|may|bay|ray|stay|gray|clay|lay|pay,light=night|bright|sight|fight|right|kite|white|might,tree=free|see|bee|sea|me|three|be|key|knee,house=mouse|blouse|louse,love=dove|above|glove|shove,star=car|far|bar|jar",
    ),
    "mend-grammar": (
        ("Correct the grammar: {x}", "Fix the mistakes in this sentence.\n\n{x}", "Rewrite without errors: {x}", "Proofread: \"{x}\""),
        "She go to school every day.=goes to school every,He don't like coffee.=doesn't like coffee|does not like coffee,They was late yesterday.=were late,I has two brothers.=have two,The childs are playing.=children are,We goed to the park.=went to the park,Me and him is friends.=he and i are|him and i are|i and he are|i are friends,There is many people here.=there are many,She can sings well.=can sing,I am agree with you.=i agree,He have a red car.=has a red,Yesterday I eat a pizza.=i ate|ate a pizza",
    ),
    "mend-spelling": (
        ("Correct the spelling of '{x}'.", "How is {x} spelled correctly?", "Fix the typo: {x}", "spell check: {x}"),
        "recieve=receive,definately=definitely,seperate=separate,adress=address,tommorow=tomorrow,beautifull=beautiful,neccessary=necessary,goverment=government,wierd=weird,freind=friend,becuase=because,langauge=language,enviroment=environment,begining=beginning,calender=calendar",
    ),
    "proverb": (
        ("Complete the saying: {x}", "Finish the proverb '{x} ...'", "{x} ... How does the proverb end?", "{x}"),
        "The early bird catches the=worm,A picture is worth a thousand=words,Actions speak louder than=words,Better late than=never,Practice makes=perfect,When in Rome do as the Romans=do,An apple a day keeps the doctor=away,Honesty is the best=policy,Two heads are better than=one,The pen is mightier than the=sword,Don't judge a book by its=cover,Time is=money,Blood is thicker than=water,Every cloud has a silver=lining,Rome was not built in a=day",
    ),
    "cloze": (
        ("Fill in the blank: {x}", "Which word is missing? {x}", "Complete the sentence with one word. {x}"),
        "The sun rises in the ___.=east,Fish live in ___.=water|sea|ocean|oceans|rivers|lakes,We see with our ___.=eyes,Bees make ___.=honey,A dog likes to chase ___.=cats|balls|ball|squirrels|cat|rabbits,Water freezes to ___.=ice,Birds can ___ with their wings.=fly,In winter it is ___.=cold|snowing|snowy,A baker bakes ___.=bread|cakes|cake,At night we can see the ___ and the stars.=moon,Cows give us ___.=milk",
    ),
    "acronym": (
        ("What does {x} stand for?", "Expand the acronym {x}.", "{x} is short for what?", "Meaning of the abbreviation {x}?"),
        "NASA=national aeronautics and space administration,USA=united states of america,UN=united nations,EU=european union,CPU=central processing unit,DNA=deoxyribonucleic acid,FAQ=frequently asked questions,ASAP=as soon as possible,HTML=hypertext markup language|hyper text markup language,PDF=portable document format,WHO=world health organization|world health organisation,ATM=automated teller machine,RAM=random access memory|random-access memory,UFO=unidentified flying object,BBC=british broadcasting corporation",
    ),
    "into-english": (
        ("Translate to English: {x}", "What does '{x}' mean in English?", "English for {x}?", "Translate the word \"{x}\" into English."),
        "casa=house|home,agua=water,gato=cat,libro=book,amigo=friend,chien=dog,maison=house|home,merci=thank you|thanks,bonjour=hello|good day|good morning,Haus=house|home,Wasser=water,danke=thank you|thanks,Brot=bread,perro=dog,leche=milk,noche=night,soleil=sun,pomme=apple,rojo=red,Hund=dog",
    ),
    "number-words": (
        ("Write {x} in words.", "Spell out the number {x}.", "How do you write {x} as a word?"),
        "7=seven,12=twelve,15=fifteen,20=twenty,21=twenty-one|twenty one,30=thirty,42=forty-two|forty two,58=fifty-eight|fifty eight,64=sixty-four|sixty four,73=seventy-three|seventy three,80=eighty,99=ninety-nine|ninety nine,100=one hundred|hundred,11=eleven,90=ninety,36=thirty-six|thirty six",
    ),
}  # fmt: skip


def _form(family: str) -> Maker:
    templates, table = _FORMS[family]
    pairs = [pair.rsplit("=", 1) for pair in table.split(",")]

    def make(rng: Random) -> Item:
        asked, right = rng.choice(pairs)
        return Item(rng.choice(templates).format(x=asked), says(*right.split("|")))

    return make


def count_words(rng: Random) -> Item:
    """How many words a sentence has."""
    text = rng.choice(rng.choice(list(_TEXTS["emotion"].values())))
    prompt = rng.choice(("How many words are in this sentence? {t}", "Count the words: {t}", "Word count of '{t}'?"))
    return Item(prompt.format(t=text), number(len(text.split())))


def last_word(rng: Random) -> Item:
    """The first or the last word of a sentence."""
    words = rng.choice(rng.choice(list(_TEXTS["emotion"].values()))).split()
    which, at = rng.choice((("first", 0), ("last", -1)))
    prompt = rng.choice(("What is the {w} word of '{t}'?", "Give only the {w} word: {t}", "{t}\n\n{w} word?"))
    right, other = words[at], words[-1 - at]
    return Item(
        prompt.format(w=which, t=" ".join(words)),
        lambda answer: says(right)(answer) and not says(other)(answer),
    )


def pronoun(rng: Random) -> Item:
    """Whom a pronoun stands for."""
    a, b = rng.sample(("Tom", "Peter", "Ahmed", "Victor", "Felix", "Lucas"), 2)
    text, right = rng.choice(
        (
            (f"{a} thanked {b} because he had received help from him. Who received help?", a),
            (f"{a} could not lift his son {b} because he was so weak. Who was weak?", a),
            (f"{a} could not lift his son {b} because he was so heavy. Who was heavy?", b),
            (f"{a} asked {b} a question, but he did not answer. Who did not answer?", b),
            (f"{a} beat {b} in the race because he ran faster. Who ran faster?", a),
            (f"{a} beat {b} in the race because he ran too slowly. Who ran too slowly?", b),
        )
    )
    return Item(text, label(right, (a, b)))


def entails(rng: Random) -> Item:
    """Whether one sentence follows from another."""
    text, right = rng.choice(
        (
            ("A man plays the guitar on a stage. Does it follow that a man makes music?", "yes"),
            ("Two children play football in the rain. Does it follow that the children are asleep?", "no"),
            ("A woman drives a red car to work. Does it follow that the car is red?", "yes"),
            ("The dog sleeps on the sofa. Does it follow that the dog is running?", "no"),
            ("All the shops are closed. Does it follow that the bakery is open?", "no"),
            ("Anna bought three apples. Does it follow that Anna bought fruit?", "yes"),
            ("The train arrived late. Does it follow that the train arrived?", "yes"),
            ("Nobody came to the party. Does it follow that Peter came?", "no"),
        )
    )
    form = rng.choice(("{t} Answer yes or no.", "{t} Yes or no?", "{t}", "Premise and question: {t} One word."))
    return Item(form.format(t=text), first_word(right, ("no",) if right == "yes" else ("yes",)))


FAMILIES: dict[str, Maker] = {
    **{family: _classify(family) for family in _TEXTS},
    **{family: _form(family) for family in _FORMS},
    "count-words": count_words,
    "last-word": last_word,
    "pronoun": pronoun,
    "entails": entails,
}
