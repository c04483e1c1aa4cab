"""The words and templates of the demo model's domain: data only.

``{slot}`` in a template stands for one of the slot's values; ``{time}``, ``{date}``
and ``{digits}`` are expanded by rules in ``grammar``. Numbers before templates are
weights.
"""

from __future__ import annotations

__all__ = [
    "DIGITS",
    "DIGITS_DE",
    "HOURS",
    "MINUTES",
    "ORDINALS",
    "PHRASES",
    "PHRASES_DE",
    "SLOTS",
    "SLOTS_DE",
    "TEMPLATES",
    "TEMPLATES_DE",
]

_UNITS = "one two three four five six seven eight nine".split()
_TEENS = (
    "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
DIGITS = ["zero", *_UNITS]

_UNITS_DE = "eins zwei drei vier fünf sechs sieben acht neun".split()
DIGITS_DE = ["null", *_UNITS_DE]

_SMALL = _UNITS[1:] + _TEENS[:6] + ["twenty", "thirty", "forty", "fifty"]
_NUMBERS = (
    _UNITS
    + _TEENS
    + _TENS
    + [f"{ten} {unit}" for ten in _TENS for unit in _UNITS]
    + ["one hundred"]
)
HOURS = _UNITS + _TEENS[:3]
MINUTES = "five ten fifteen twenty thirty forty fifty".split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
).split() + ["fifteenth", "twentieth", "thirtieth"]

SLOTS: dict[str, list[str]] = {
    "onoff": ["on", "off"],
    "room": (
        "kitchen,bedroom,living room,bathroom,garden,office,garage,hall".split(",")
    ),
    "device": "light,lamp,fan,heater,radio,music".split(","),
    "machine": (
        "television,computer,printer,camera,washing machine,coffee machine,oven"
    ).split(","),
    "opening": "front door,back door,window,gate,garage door,blinds".split(","),
    "openclose": ["open", "close", "lock", "check"],
    "colour": "red,green,blue,white,yellow,black,brown".split(","),
    "level": ["up", "down"],
    "name": ("Anna,Peter,Mary,John,David,Sarah,Tom,Julia,Martin,Laura,Paul,Emma").split(
        ","
    ),
    "relative": "mother,father,brother,sister,daughter,son,friend,doctor".split(","),
    "day": ("Monday,Tuesday,Wednesday,Thursday,Friday,Saturday,Sunday").split(","),
    "month": (
        "January,February,March,April,May,June,July,August,September,October,"
        "November,December"
    ).split(","),
    "ordinal": ORDINALS,
    "hour": HOURS,
    "minutes": MINUTES,
    "number": _NUMBERS,
    "small": _SMALL,
    "digit": DIGITS,
    "when": "today,tomorrow,tonight,this morning,this evening,next week".split(","),
    "part": ["in the morning", "in the afternoon", "in the evening", "at night"],
    "city": "London,Berlin,Paris,New York,Rome,Vienna,Boston".split(","),
    "weather": "sunny,cloudy,cold,warm,windy,dry,wet".split(","),
    "food": (
        "milk,bread,butter,cheese,apples,eggs,coffee,tea,rice,sugar,water,potatoes"
    ).split(","),
    "thing": "books,bottles,boxes,chairs,cups,letters,plates,tickets".split(","),
    "place": "table,shelf,floor,desk,bed,box".split(","),
    "list": ["the shopping list", "my list"],
    "task": (
        "call the doctor,buy some bread,water the plants,feed the cat,clean the car,"
        "pay the bill,send the letter,walk the dog,wash the dishes,close the window"
    ).split(","),
    "vehicle": "train,bus,plane,boat".split(","),
    "event": "meeting,concert,lesson,party,dinner,film".split(","),
    "animal": "cat,dog,horse,bird,fish,mouse".split(","),
    "adjective": "old,young,small,big,happy,tired,quiet,hungry".split(","),
    "action": "sleeping,eating,running,playing,waiting,singing".split(","),
    "where": (
        "in the garden,under the table,near the river,behind the house,on the street,"
        "at school,at work,at home,in the park"
    ).split(","),
    "music": "jazz,classical music,rock music,the news,my favourite song".split(","),
    "place_to_go": (
        "the station,the airport,the school,the market,the hospital,the library"
    ).split(","),
}

TEMPLATES: list[tuple[float, str]] = [
    (3, "Turn {onoff} the {room} {device}."),
    (2, "Please turn {onoff} the {device} in the {room}."),
    (2, "Switch {onoff} the {machine}."),
    (1, "Is the {machine} in the {room} {onoff}?"),
    (2, "Please {openclose} the {opening}."),
    (1, "Did you {openclose} the {opening}?"),
    (2, "Make the {room} light {colour}."),
    (2, "Turn the volume {level} to {number} percent."),
    (2, "Set the temperature to {number} degrees."),
    (1, "Set the {room} heater to {number} degrees."),
    (3, "Set a timer for {small} minutes."),
    (3, "Wake me up at {time}."),
    (2, "Set an alarm for {time} {part}."),
    (2, "The {event} starts at {time}."),
    (2, "The {event} is on {date}."),
    (2, "Today is {date}."),
    (2, "The {vehicle} to {city} leaves at {time}."),
    (1, "When does the next {vehicle} to {city} leave?"),
    (2, "What is the weather like in {city} {when}?"),
    (2, "It will be {weather} and {weather} in {city} {when}."),
    (2, "Remind me to {task} {when}."),
    (2, "Remind me to {task} at {time}."),
    (2, "Call {name} {when}."),
    (1, "Send a message to {name} and {name}."),
    (2, "Call my {relative} on {day} {part}."),
    (2, "Play {music} in the {room}."),
    (2, "Add {food} and {food} to {list}."),
    (2, "We need {small} {thing} and some {food}."),
    (2, "There are {small} {thing} on the {place}."),
    (2, "{number} plus {number} is {number}."),
    (1, "{number} minus {number} is {number}."),
    (2, "The {adjective} {animal} is {action} {where}."),
    (2, "{name} is {action} {where}."),
    (2, "My {relative} has a {colour} {animal}."),
    (2, "I would like some {food} with {food} please."),
    (2, "How do I get to {place_to_go} from here?"),
    (2, "{name} goes to {place_to_go} on {day}."),
    (2, "I will be at {place_to_go} at {time}."),
    (5, "{digits}."),
    (3, "My number is {digits}."),
    (2, "The code is {digits}."),
    (2, "Call the number {digits}."),
]

# Whole utterances without a slot. Too few to hold any out: for these only the voice
# is new in evaluation.
PHRASES = (
    "Yes.,No.,Okay.,Stop.,Hello.,Goodbye.,Thank you.,Please.,Good morning.,"
    "Good evening.,Good night.,What time is it?,How are you?,I do not know.,"
    "Thank you very much.,Cancel the timer.,Stop the music.,Turn on the light.,"
    "Turn off the light.,Start again.,Never mind.,Yes please.,No thank you.,"
    "That is all.,Where are you?,Help.,Go back.,Next song.,Louder.,Quieter."
).split(",")

# German slots hold (German, English) pairs, so a sentence and its translation are
# drawn together.
SLOTS_DE: dict[str, list[tuple[str, str]]] = {
    "room": [
        ("in der Küche", "in the kitchen"),
        ("im Schlafzimmer", "in the bedroom"),
        ("im Wohnzimmer", "in the living room"),
        ("im Garten", "in the garden"),
        ("im Büro", "in the office"),
        ("im Bad", "in the bathroom"),
    ],
    "device": [
        ("das Licht", "the light"),
        ("die Lampe", "the lamp"),
        ("die Heizung", "the heater"),
        ("den Fernseher", "the television"),
        ("das Radio", "the radio"),
        ("die Musik", "the music"),
    ],
    "onoff": [("ein", "on"), ("aus", "off")],
    "opening": [
        ("die Tür", "the door"),
        ("das Fenster", "the window"),
        ("das Tor", "the gate"),
    ],
    "openclose": [("Öffne", "Open"), ("Schließe", "Close")],
    "hour": list(
        zip(
            ("ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf").split(),
            HOURS,
        )
    ),
    "minutes": [
        ("fünf", "five"),
        ("zehn", "ten"),
        ("fünfzehn", "fifteen"),
        ("zwanzig", "twenty"),
        ("dreißig", "thirty"),
        ("vierzig", "forty"),
        ("fünfzig", "fifty"),
    ],
    "small": list(
        zip("zwei drei vier fünf sechs sieben acht neun zehn".split(), HOURS[1:])
    ),
    "digit": list(zip(DIGITS_DE, DIGITS)),
    "day": [
        ("Montag", "Monday"),
        ("Dienstag", "Tuesday"),
        ("Mittwoch", "Wednesday"),
        ("Donnerstag", "Thursday"),
        ("Freitag", "Friday"),
        ("Samstag", "Saturday"),
        ("Sonntag", "Sunday"),
    ],
    "when": [
        ("heute", "today"),
        ("morgen", "tomorrow"),
        ("heute Abend", "this evening"),
        ("nächste Woche", "next week"),
    ],
    "city": [
        ("London", "London"),
        ("Berlin", "Berlin"),
        ("Paris", "Paris"),
        ("Wien", "Vienna"),
        ("Rom", "Rome"),
    ],
    "food": [
        ("Milch", "milk"),
        ("Brot", "bread"),
        ("Butter", "butter"),
        ("Käse", "cheese"),
        ("Äpfel", "apples"),
        ("Eier", "eggs"),
        ("Wasser", "water"),
    ],
    "relative": [
        ("Meine Mutter", "My mother"),
        ("Mein Vater", "My father"),
        ("Mein Bruder", "My brother"),
        ("Meine Schwester", "My sister"),
    ],
    "where": [
        ("zu Hause", "at home"),
        ("im Garten", "in the garden"),
        ("in der Schule", "at school"),
        ("bei der Arbeit", "at work"),
    ],
    "vehicle": [("Zug", "train"), ("Bus", "bus")],
    "task": [
        ("den Arzt anzurufen", "call the doctor"),
        ("Brot zu kaufen", "buy some bread"),
        ("die Katze zu füttern", "feed the cat"),
        ("den Brief zu schicken", "send the letter"),
        ("das Auto zu waschen", "clean the car"),
    ],
    "weather": [
        ("kalt", "cold"),
        ("warm", "warm"),
        ("sonnig", "sunny"),
        ("trocken", "dry"),
    ],
}

TEMPLATES_DE: list[tuple[float, str, str]] = [
    (4, "Schalte {device} {room} {onoff}.", "Turn {onoff} {device} {room}."),
    (3, "{openclose} bitte {opening} {room}.", "{openclose} {opening} {room} please."),
    (
        2,
        "Stelle einen Wecker auf {hour} Uhr {minutes}.",
        "Set an alarm for {hour} {minutes}.",
    ),
    (2, "Wecke mich {when} um {hour} Uhr.", "Wake me up {when} at {hour}."),
    (
        2,
        "Der {vehicle} nach {city} fährt um {hour} Uhr {minutes}.",
        "The {vehicle} to {city} leaves at {hour} {minutes}.",
    ),
    (
        2,
        "Wie wird das Wetter {when} in {city}?",
        "How is the weather {when} in {city}?",
    ),
    (
        2,
        "Es wird {when} {weather} in {city}.",
        "It will be {weather} {when} in {city}.",
    ),
    (2, "Wir brauchen {food} und {food:2}.", "We need {food} and {food:2}."),
    (
        2,
        "Wir brauchen {small} Flaschen {food}.",
        "We need {small} bottles of {food}.",
    ),
    (2, "{relative} ist {when} {where}.", "{relative} is {where} {when}."),
    (2, "Erinnere mich am {day} {task}.", "Remind me on {day} to {task}."),
    (
        2,
        "Das Treffen ist am {day} um {hour} Uhr.",
        "The meeting is on {day} at {hour}.",
    ),
    (
        2,
        "Stelle die Heizung {room} auf {minutes} Grad.",
        "Set the heater {room} to {minutes} degrees.",
    ),
    (4, "{digits}.", "{digits}."),
    (3, "Meine Nummer ist {digits}.", "My number is {digits}."),
]

PHRASES_DE: list[tuple[str, str]] = [
    ("Ja.", "Yes."),
    ("Nein.", "No."),
    ("Danke.", "Thank you."),
    ("Bitte.", "Please."),
    ("Guten Morgen.", "Good morning."),
    ("Guten Abend.", "Good evening."),
    ("Gute Nacht.", "Good night."),
    ("Wie spät ist es?", "What time is it?"),
    ("Wie geht es dir?", "How are you?"),
    ("Ich weiß es nicht.", "I do not know."),
    ("Vielen Dank.", "Thank you very much."),
    ("Auf Wiedersehen.", "Goodbye."),
]
