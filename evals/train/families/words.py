"""The vocabulary that the families draw from: what varies from prompt to prompt. Data, no logic."""

# ruff: noqa: E501, SIM905 - word lists read best as words

from __future__ import annotations

NAMES = "Maria Daniel Aisha Tom Elena Kenji Priya Oliver Fatima Lucas Ingrid Samuel Chloe Mateo Hannah Victor Leila George Nadia Peter Zoe Ahmed Clara Boris Julia Martin Rosa Felix Amara Simon".split()
SURNAMES = "Lopez Schmidt Khan Becker Rossi Tanaka Patel Brown Haddad Moreau Larsen Okafor Dubois Silva Weber Novak Rahimi Hill Petrov Chen Fischer Mansour Berg Costa Fontaine Adeyemi Walsh".split()
CITIES = "Lisbon Toronto Nairobi Oslo Kyoto Denver Valencia Krakow Auckland Bergen Porto Leeds Montreal Graz Tampa Dakar Ghent Perth Basel Izmir".split()
ITEMS = "notebook lamp chair kettle backpack keyboard jacket printer bicycle headset blender monitor camera tent rug mug phone watch desk fan".split()
FRUITS = "apples oranges pears plums peaches mangoes lemons melons cherries bananas".split()
THINGS = (
    "marbles stickers pencils books coins stamps shells cards buttons beads tickets cookies eggs bottles boxes".split()
)
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

GOOD = """I loved this film from the first minute to the last
The staff were friendly and the room was spotless
Best pizza I have had in years
It arrived a day early and works perfectly
The battery lasts for days and the screen is gorgeous
What a wonderful evening, we will definitely come back
Great value for the money and very easy to set up
The author writes beautifully and I could not put the book down
Customer service solved my problem in two minutes
My kids adore it and play with it every day
The concert was breathtaking
This update fixed everything I complained about
Comfortable, stylish and well made
The course was clear, fun and useful
An absolute delight, highly recommended
Fresh ingredients, generous portions and a lovely view
The driver was polite and got us there safely
I am so happy with this purchase
Superb acting and a clever script
The doctor listened carefully and explained everything
It exceeded all my expectations
Smooth, quiet and powerful, exactly what I wanted
Our guide was funny and knew every story of the town
The new design is brilliant
Five stars, would buy again""".split("\n")
BAD = """The plot was dull and I fell asleep halfway through
The food was cold and the waiter was rude
It broke after two days and nobody answers my emails
A complete waste of money
The room smelled of smoke and the bed was filthy
Terrible service, never again
The app crashes every time I open it
I regret buying this, it feels cheap and looks ugly
The package arrived late and the box was crushed
The worst concert I have ever been to
The instructions are confusing and half the screws are missing
My order was wrong and they refused to refund me
The battery dies within an hour
Boring, predictable and far too long
The seat was uncomfortable and the flight was delayed for hours
I am very disappointed with the quality
The soup tasted like dishwater
Overpriced and badly made
The staff ignored us the whole evening
It stopped working the day the warranty ended
The lecture was a mess and I learned nothing
This update ruined the whole phone
Loud neighbours, no hot water and a broken window
The acting was awful and the jokes were not funny
I want my money back""".split("\n")
MORE_GOOD = """I loved this film
What a wonderful, warm story
The staff were friendly and the food was great
Best purchase I made this year
An absolute delight from start to finish
The screen is sharp and the battery lasts for days
I would happily come again
Fantastic service, thank you
It works perfectly
My kids adore it""".split("\n")
MORE_BAD = """I hated this film
The plot was boring and the acting terrible
The staff were rude and the food was cold
Worst purchase I made this year
It broke after two days
The screen is dim and the battery dies in an hour
I will never come again
Awful service, nobody helped
It does not work at all""".split("\n")
NEUTRAL = """The parcel was delivered on Tuesday
The hotel has forty rooms on three floors
The film is two hours long
I bought the blue one
The shop opens at nine and closes at six
The phone comes with a charger and a cable
We ordered the soup and the salad
The book has twelve chapters
The meeting was moved to Thursday
The train leaves from platform four
It is made of plastic and metal
There are three versions of this product""".split("\n")

TOPICS: dict[str, list[str]] = {
    "sports": """The striker scored twice in the final minutes of the match
She won the marathon in a record time
The coach blamed the defence for losing the game
The tennis champion withdrew with a knee injury
The league will add two more teams next season""".split("\n"),
    "politics": """The parliament voted on the new tax law
The senator announced her campaign for president
Ministers met to discuss the border treaty
The opposition called for early elections
The mayor promised to reform the city council""".split("\n"),
    "technology": """The company released a faster processor for laptops
A bug in the new software exposed user passwords
Engineers trained a neural network to recognise speech
The phone maker unveiled a folding screen
Developers can now test the cloud platform""".split("\n"),
    "food": """Simmer the sauce for ten minutes and add fresh basil
The bakery is famous for its sourdough bread
This recipe needs butter, flour and two eggs
The chef opened a restaurant that serves grilled fish
Season the chicken with garlic and lemon""".split("\n"),
    "health": """Doctors advise adults to sleep at least seven hours
The vaccine reduced infections among older patients
Regular exercise lowers blood pressure
The hospital reported fewer cases of flu
A new drug may help people with diabetes""".split("\n"),
    "finance": """Shares fell after the bank reported lower profits
The central bank raised interest rates by half a point
Investors moved their money into bonds
The startup raised forty million dollars from venture funds
Inflation slowed in the second quarter""".split("\n"),
    "travel": """The island has quiet beaches and cheap hotels
Pack light and book your train tickets early
Our flight to Rome landed late at night
The old town is best explored on foot by tourists
A visa is needed for stays longer than a month""".split("\n"),
}

LANGUAGES: dict[str, list[str]] = {
    "Spanish": "¿Dónde está la estación de tren?|Me gusta mucho leer por la noche|Mañana vamos a la playa con los niños|El perro duerme debajo de la mesa".split(
        "|"
    ),
    "French": "Où est la gare, s'il vous plaît ?|J'aime beaucoup lire le soir|Demain nous allons à la plage avec les enfants|Le chien dort sous la table".split(
        "|"
    ),
    "German": "Wo ist der Bahnhof, bitte?|Ich lese abends sehr gerne|Morgen gehen wir mit den Kindern an den Strand|Der Hund schläft unter dem Tisch".split(
        "|"
    ),
    "Italian": "Dov'è la stazione dei treni?|Mi piace molto leggere la sera|Domani andiamo al mare con i bambini|Il cane dorme sotto il tavolo".split(
        "|"
    ),
    "Portuguese": "Onde fica a estação de trem?|Gosto muito de ler à noite|Amanhã vamos à praia com as crianças|O cachorro dorme debaixo da mesa".split(
        "|"
    ),
    "Dutch": "Waar is het treinstation?|Ik lees 's avonds heel graag|Morgen gaan we met de kinderen naar het strand|De hond slaapt onder de tafel".split(
        "|"
    ),
    "English": "Where is the train station?|I enjoy reading in the evening|Tomorrow we go to the beach with the children|The dog sleeps under the table".split(
        "|"
    ),
    "Polish": "Gdzie jest dworzec kolejowy?|Bardzo lubię czytać wieczorem|Jutro idziemy z dziećmi na plażę|Pies śpi pod stołem".split(
        "|"
    ),
}

CAPITALS: dict[str, str] = dict(
    pair.split("=")
    for pair in "France=Paris|Japan=Tokyo|Germany=Berlin|Italy=Rome|Spain=Madrid|Canada=Ottawa|Australia=Canberra|Brazil=Brasilia|Egypt=Cairo|Kenya=Nairobi|India=New Delhi|China=Beijing|Russia=Moscow|Poland=Warsaw|Norway=Oslo|Sweden=Stockholm|Finland=Helsinki|Greece=Athens|Turkey=Ankara|Portugal=Lisbon|Austria=Vienna|Hungary=Budapest|Ireland=Dublin|Peru=Lima|Chile=Santiago|Cuba=Havana|Thailand=Bangkok|Vietnam=Hanoi|Morocco=Rabat|Ghana=Accra|Nepal=Kathmandu|Iceland=Reykjavik|Mongolia=Ulaanbaatar|Ecuador=Quito|Uruguay=Montevideo|Slovenia=Ljubljana|Kazakhstan=Astana|Senegal=Dakar|Jordan=Amman|Belgium=Brussels".split(
        "|"
    )
)

TRUE_FACTS = """the sun a star
Paris in France
ice frozen water
a whale a mammal
gold a metal
the Pacific an ocean
Mars a planet
a rose a flower
a hammer a tool
a violin an instrument
Tokyo in Japan
oxygen a gas
a spider an animal with eight legs
seven an odd number
a square a shape with four sides""".split("\n")
FALSE_FACTS = """the moon larger than the earth
London in Spain
ice hotter than steam
a shark a mammal
wood a metal
the Sahara an ocean
Jupiter smaller than the moon
a potato a fruit
a spoon a vehicle
a trumpet an animal
Rome in Germany
iron a gas
a snake a bird
eight an odd number
a triangle a shape with five sides""".split("\n")

TRIVIA: list[tuple[str, str]] = [
    (q, a)
    for q, a in (
        line.split("=")
        for line in """Who wrote Romeo and Juliet=Shakespeare
Who painted the Mona Lisa=Leonardo
Who developed the theory of relativity=Einstein
Who wrote Don Quixote=Cervantes
Who invented the telephone=Bell
Which planet is closest to the sun=Mercury
What is the largest ocean on Earth=Pacific
What is the chemical symbol for gold=Au
What gas do plants absorb from the air=carbon dioxide
Who was the first person to walk on the moon=Armstrong
In which year did the Second World War end=1945
What is the tallest mountain on Earth=Everest
Which country gave the Statue of Liberty to the United States=France
Who discovered penicillin=Fleming
What is the longest river in South America=Amazon
Which element has the atomic number 1=hydrogen
Who composed the Four Seasons=Vivaldi
What is the currency of Japan=yen
Which organ pumps blood through the body=heart
Who wrote Pride and Prejudice=Austen
Which colour is the planet Mars known for=red
Which treaty ended the Thirty Years' War=Westphalia
What is the freezing point of water in Fahrenheit=32
Which Greek philosopher taught Alexander the Great=Aristotle
In which year did the Berlin Wall fall=1989
Who proved Fermat's Last Theorem=Wiles
Which bone is the longest in the human body=femur
What is the smallest prime number=2
Which strait separates Spain from Morocco=Gibraltar
Who wrote the Brothers Karamazov=Dostoevsky
Which acid is in the human stomach=hydrochloric
What is the official language of Brazil=Portuguese
How many strings does a violin have=4
What is the hardest natural substance=diamond
Which battle ended Napoleon's rule in 1815=Waterloo""".split("\n")
    )
]
QUANTITIES: list[tuple[str, int]] = [
    ("days are there in a week", 7), ("months are there in a year", 12), ("minutes are in an hour", 60),
    ("legs does a spider have", 8), ("sides does a triangle have", 3), ("continents are there", 7),
    ("letters are in the English alphabet", 26), ("hours are in a day", 24), ("seconds are in a minute", 60),
    ("players does a football team have on the pitch", 11), ("centimetres are in a metre", 100),
    ("grams are in a kilogram", 1000), ("days does February have in a leap year", 29), ("wheels does a bicycle have", 2),
    ("degrees are in a right angle", 90), ("colours are in a rainbow", 7), ("keys does a piano have", 88),
    ("planets are in the solar system", 8), ("years are in a century", 100), ("cards are in a standard deck", 52),
]  # fmt: skip

TRANSLATIONS: dict[str, dict[str, str]] = {
    "Spanish": {"house": "casa", "water": "agua", "cat": "gato", "book": "libro", "friend": "amigo", "red": "rojo", "milk": "leche", "night": "noche", "thank you": "gracias", "bread": "pan", "sun": "sol", "window": "ventana", "apple": "manzana", "dog": "perro"},
    "French": {"house": "maison", "water": "eau", "cat": "chat", "book": "livre", "friend": "ami", "red": "rouge", "milk": "lait", "night": "nuit", "thank you": "merci", "bread": "pain", "sun": "soleil", "window": "fenêtre", "apple": "pomme", "dog": "chien"},
    "German": {"house": "Haus", "water": "Wasser", "cat": "Katze", "book": "Buch", "friend": "Freund", "red": "rot", "milk": "Milch", "night": "Nacht", "thank you": "danke", "bread": "Brot", "sun": "Sonne", "window": "Fenster", "apple": "Apfel", "dog": "Hund"},
    "Italian": {"house": "casa", "water": "acqua", "cat": "gatto", "book": "libro", "friend": "amico", "red": "rosso", "milk": "latte", "night": "notte", "thank you": "grazie", "bread": "pane", "sun": "sole", "window": "finestra", "apple": "mela", "dog": "cane"},
}  # fmt: skip
OPPOSITES: dict[str, str] = dict(
    pair.split("=")
    for pair in "hot=cold|big=small|fast=slow|happy=sad|light=dark|early=late|empty=full|strong=weak|rich=poor|old=young|wet=dry|hard=soft|open=closed|up=down|north=south|love=hate|victory=defeat|arrive=depart|ancient=modern|generous=stingy|expand=contract|accept=reject".split(
        "|"
    )
)
CATEGORIES: dict[str, list[str]] = {
    "animal": "horse eagle salmon frog tiger ant rabbit".split(),
    "fruit": "apple banana grape peach mango cherry".split(),
    "vehicle": "truck bicycle ferry tram scooter van".split(),
    "furniture": "sofa table wardrobe chair shelf bed".split(),
    "clothing": "shirt scarf trousers sock jacket hat".split(),
}
SPAM = """Congratulations! You have won a $1000 gift card, click here to claim now
URGENT: your account is locked, send your password to restore access
Make $5000 a week from home with no experience
Cheap pills online, no prescription needed, order today
You have been selected for a free iPhone, reply with your bank details
Hot singles in your area want to meet you
Double your bitcoin in 24 hours guaranteed
Final notice: pay the customs fee at this link to receive your parcel""".split("\n")
HAM = """Hi Anna, can we move our meeting to 3 pm tomorrow?
Please find attached the minutes of Monday's call
Your dentist appointment is confirmed for Thursday at 9
Mum says dinner is at seven, bring some bread
The build is green again, I merged the fix
Thanks for sending the invoice, we will pay it this week
The library book you reserved is ready for pick-up
Are you coming to the rehearsal tonight?""".split("\n")
INTENTS: dict[str, list[str]] = {
    "billing": """I was charged twice this month
Where can I download my invoice?
My card was declined but the money is gone
Please refund the last payment""".split("\n"),
    "technical": """The app crashes when I open the settings
I cannot connect the printer to the wifi
The page shows error 500 after the update
Sync has stopped working on my phone""".split("\n"),
    "shipping": """My parcel has not arrived yet
Can I change the delivery address?
The tracking number does not work
How long does shipping to Norway take?""".split("\n"),
    "account": """I forgot my password
How do I change the email I log in with?
Please delete my profile
I want to rename my user""".split("\n"),
}
SENTENCE_WORDS = (
    "river garden winter teacher mountain music morning letter bridge forest window dream captain island market".split()
)
