"""The words the embedded engine knows: objects, colours, textures, relations, backgrounds, numbers."""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_OBJECTS: Final = 20
"""Most things in one scene, the sign included."""
MAX_LETTERS: Final = 12
"""Most characters on the sign."""
LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 "
"""Characters a sign can carry; lower case is read as upper case."""


class Word(NamedTuple):
    """One drawable object."""

    name: str
    plural: str
    color: str
    """Its colour when the prompt names none."""
    category: str
    synonyms: tuple[str, ...] = ()


def _regular(name: str) -> str:
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"


_IRREGULAR: Final = {
    "person": "people",
    "skis": "skis",
    "sheep": "sheep",
    "knife": "knives",
    "mouse": "mice",
    "computer mouse": "computer mice",
    "scissors": "scissors",
    "wine glass": "wine glasses",
    "broccoli": "broccoli",
    "teddy bear": "teddy bears",
}

# "name color [synonym, synonym]" by category: the 80 COCO classes under GenEval's names, then what GenEval2 adds.
_OBJECTS: Final = {
    "person": "person brown [human, man, woman, boy, girl, child, kid, guy, lady]",
    "vehicle": """bicycle blue [bike]; car red [automobile]; motorcycle black [motorbike]; airplane gray [plane,
        aeroplane, jet]; bus yellow; train green; truck blue [lorry]; boat brown [ship, sailboat]""",
    "street": """traffic light black [stoplight]; fire hydrant red [hydrant]; stop sign red; parking meter gray;
        bench brown""",
    "animal": """bird blue; cat orange [kitten, kitty]; dog brown [puppy]; horse brown [pony]; sheep white [lamb];
        cow black [cattle]; elephant gray; bear brown; zebra black; giraffe yellow""",
    "accessory": """backpack green [rucksack]; umbrella purple [parasol]; handbag pink [purse]; tie red [necktie];
        suitcase brown [luggage]""",
    "sport": """frisbee orange [flying disc]; skis blue [ski]; snowboard purple; sports ball white [ball, soccer ball,
        football]; kite red; baseball bat brown [bat]; baseball glove brown [mitt]; skateboard black; surfboard yellow;
        tennis racket green [racket, tennis racquet, racquet]""",
    "tableware": """bottle green; wine glass purple [wineglass, goblet]; cup white [mug, coffee cup]; fork gray;
        knife gray; spoon gray; bowl blue""",
    "food": """banana yellow; apple red; sandwich brown; orange orange; broccoli green; carrot orange;
        hot dog red [hotdog]; pizza yellow [pizza slice]; donut pink [doughnut]; cake pink [birthday cake]""",
    "furniture": """chair brown; couch blue [sofa]; potted plant green [houseplant, plant]; bed blue;
        dining table brown [table]; toilet white""",
    "appliance": """tv black [television]; laptop gray [notebook computer]; computer mouse gray [mouse];
        tv remote black [remote, remote control]; computer keyboard black [keyboard];
        cell phone black [phone, cellphone, mobile phone, smartphone]; microwave gray; oven gray [stove];
        toaster gray; sink white; refrigerator white [fridge]""",
    "household": """book blue; clock white; vase blue; scissors red; teddy bear brown [teddy];
        hair drier pink [hair dryer, hairdryer, hairdrier]; toothbrush blue""",
    "wildlife": """flamingo pink; kangaroo brown; koala gray; lion yellow; monkey brown; penguin black; pig pink [piglet];
        rabbit white [bunny]; raccoon gray; turtle green [tortoise]; tiger orange; panda white; fox orange; owl brown;
        fish orange; duck yellow; snake green; butterfly purple""",
    "music": "guitar brown; trumpet yellow; violin brown [fiddle]; piano black; drum red",
    "more": """bagel brown; candle white; croissant orange; flower pink [tulip]; mushroom red; toy blue [toy brick];
        cookie brown; tree green; house red; star yellow; robot gray; crown yellow; balloon red; key yellow""",
    "sign": "sign white [signboard, board, placard, banner, poster, billboard]",
}


def _read_objects() -> dict[str, Word]:
    words = {}
    for category, listing in _OBJECTS.items():
        for entry in listing.split(";"):
            head, _, tail = " ".join(entry.split()).partition(" [")
            name, color = head.rsplit(" ", 1)
            synonyms = tuple(word.strip() for word in tail.rstrip("]").split(",")) if tail else ()
            words[name] = Word(name, plural(name), color, category, synonyms)
    return words


def plural(name: str) -> str:
    """The plural of an object's name, known or not: `plural("wine glass") == "wine glasses"`."""
    if name in _IRREGULAR:
        return _IRREGULAR[name]
    *front, last = name.split(" ")
    return " ".join([*front, _IRREGULAR.get(last, _regular(last))])


OBJECTS: Final = _read_objects()
"""Every drawable object by its name, `sign` among them."""

COCO_NAMES: Final = tuple(
    name for name, word in OBJECTS.items() if word.category not in {"wildlife", "music", "more", "sign"}
)
"""The 80 classes of GenEval, under GenEval's names."""

# fmt: off
GENEVAL2_NAMES: Final = (
    "backpack", "bear", "bicycle", "bird", "car", "cat", "chair", "clock", "cow", "dog", "donut", "elephant", "giraffe",
    "horse", "motorcycle", "sheep", "suitcase", "truck", "zebra", "bagel", "candle", "croissant", "flamingo", "flower",
    "guitar", "kangaroo", "koala", "lion", "monkey", "mushroom", "penguin", "pig", "rabbit", "raccoon", "toy", "trumpet",
    "turtle", "violin", "cookie", "banana",
)
# fmt: on
"""The objects of GenEval2's grammar; two of the forty (cookie, banana) are our guess, its list being known from samples."""

COLORS: Final = {
    "red": (214, 48, 49),
    "orange": (240, 138, 36),
    "yellow": (247, 208, 56),
    "green": (52, 160, 82),
    "blue": (45, 106, 205),
    "purple": (126, 66, 170),
    "pink": (243, 140, 182),
    "brown": (134, 84, 48),
    "black": (38, 38, 42),
    "white": (250, 250, 250),
    "gray": (142, 146, 152),
}
"""sRGB of each colour name."""
COLOR_SYNONYMS: Final = {"grey": "gray", "violet": "purple", "golden": "yellow", "scarlet": "red", "crimson": "red"}

MATERIALS: Final = ("metal", "stone", "wooden", "plastic", "glass")
PATTERNS: Final = ("striped", "spotted", "checkered", "sparkling")
TEXTURES: Final = MATERIALS + PATTERNS
TEXTURE_SYNONYMS: Final = {
    "metallic": "metal",
    "wood": "wooden",
    "stripy": "striped",
    "dotted": "spotted",
    "polka-dot": "spotted",
    "checked": "checkered",
    "sparkly": "sparkling",
    "glittering": "sparkling",
}

RELATIONS: Final = {
    "left of": ("to the left of", "on the left of", "left of", "on the left side of"),
    "right of": ("to the right of", "on the right of", "right of", "on the right side of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "beneath", "lower than"),
    "on top of": ("on top of", "atop", "on"),
    "under": ("under", "underneath"),
    "in front of": ("in front of", "before"),
    "behind": ("behind", "in back of"),
    "near": ("near", "next to", "beside", "close to", "by"),
    "playing with": ("playing with",),
    "jumping over": ("jumping over", "leaping over"),
    "chasing": ("chasing", "following"),
}
"""Each relation and the phrasings it is read from. Icons have no poses: a verb is read as the place it implies."""

BACKGROUNDS: Final = {
    "plain": ("plain background", "studio"),
    "grass": ("grass", "meadow", "field", "park", "garden", "lawn"),
    "beach": ("beach", "sand", "seaside"),
    "sea": ("sea", "ocean", "lake", "water"),
    "snow": ("snow", "winter"),
    "desert": ("desert", "dunes"),
    "forest": ("forest", "woods", "jungle"),
    "mountains": ("mountains", "mountain", "hills"),
    "street": ("street", "road", "city", "town"),
    "room": ("room", "living room", "kitchen", "bedroom", "indoors", "office"),
    "night": ("night", "night sky", "space", "starry sky"),
    "sunset": ("sunset", "sunrise", "dusk", "dawn"),
}
"""Each background and the words that name it."""

NUMBERS: Final = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
"""Number words by value, to twenty."""
