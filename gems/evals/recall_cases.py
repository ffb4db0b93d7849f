"""Situations with a lesson each, and requests and questions that meet the same situation in other words.

Written by hand before any way of searching was tried on them. Of a situation's queries the first and the last are requests,
as the planner has them; the one between is a critic's question, as the refiner has it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gems.core.state import RequirementKind


class Case(NamedTuple):
    """A lesson's words, and queries that it should be found by."""

    kind: RequirementKind
    when: str
    advice: str
    queries: tuple[str, str, str]


CASES: Final[tuple[Case, ...]] = (
    # Counts
    Case(
        "count",
        "five or more of a small thing",
        "lay them out in a grid and say the number of each row",
        ("nine acorns on a wooden table", "Are there exactly eight buttons?", "a flat lay of a dozen seashells"),
    ),
    Case(
        "count",
        "exactly two of something",
        "write a pair, one on the left and one on the right",
        ("a couple of swans on a lake", "Is the number of candles two?", "twin lighthouses on a cliff"),
    ),
    Case(
        "count",
        "a large crowd of people",
        "describe rows of heads fading into the distance and give no number",
        (
            "a packed stadium cheering the home team",
            "Is the square filled with demonstrators?",
            "hundreds of festival guests in front of a stage",
        ),
    ),
    Case(
        "count",
        "different numbers of two kinds of things",
        "give each kind its own half of the picture with its number",
        (
            "three forks and five spoons on a napkin",
            "Are there four ducks and two geese?",
            "six apples next to three pears",
        ),
    ),
    Case(
        "count",
        "fingers of a hand",
        "show the palm open with five spread fingers, or hide the hand behind something",
        ("a close-up of a pianist's hands", "Does the hand have five digits?", "a woman waving at the camera"),
    ),
    Case(
        "count",
        "legs of an insect or a spider",
        "show it from above with every limb apart",
        (
            "macro photo of a tarantula",
            "Does the beetle have six legs?",
            "an ant carrying a leaf, all its limbs visible",
        ),
    ),
    Case(
        "count",
        "only a single thing is wanted and several appear",
        "write one lone thing, centred, on an empty background",
        ("one solitary balloon in the sky", "Is there just a single chair?", "a lone mug, nothing else in the picture"),
    ),
    Case(
        "count",
        "petals of a flower or points of a star",
        "name the shape, such as five-pointed, and show it flat from the front",
        ("a daisy with eight petals", "Does the star have six points?", "a blossom with exactly five petals"),
    ),
    Case(
        "count",
        "floors or windows of a building",
        "describe the facade storey by storey",
        (
            "a three-storey brick house",
            "Does the tower have four floors?",
            "an office block with two rows of windows",
        ),
    ),
    Case(
        "count",
        "nothing of a kind may be there",
        "do not name what must be absent; describe what is in its place",
        ("an empty street without cars", "Are there no people on the beach?", "a bowl with no fruit in it"),
    ),
    # Colours, materials and other attributes
    Case(
        "attribute",
        "two things with different colours that get swapped",
        "describe each thing in a sentence of its own with its colour",
        (
            "a red bicycle beside a blue bench",
            "Is the cat black and the dog white?",
            "a green vase and a purple lamp",
        ),
    ),
    Case(
        "attribute",
        "a thing in a colour that it never has in nature",
        "say that it is painted or dyed, and repeat the colour",
        ("a blue banana on a plate", "Is the zebra pink?", "a purple elephant by the river"),
    ),
    Case(
        "attribute",
        "made of glass and see-through",
        "mention light shining through it and what is seen behind",
        ("a transparent piano", "Is the teapot made of crystal?", "a see-through violin lit from behind"),
    ),
    Case(
        "attribute",
        "made of metal that shines",
        "name polished chrome and the reflections on it",
        ("a steel rabbit sculpture", "Does the robot have a mirror-like finish?", "a gleaming silver motorbike"),
    ),
    Case(
        "attribute",
        "furniture or toys carved of wood",
        "name the kind of timber and its visible grain",
        ("an oak rocking horse", "Is the chess set wooden?", "a bowl turned from walnut"),
    ),
    Case(
        "attribute",
        "a striped or checkered pattern on fabric",
        "give the two colours and the width of the bands",
        ("a shirt with navy and cream stripes", "Is the tablecloth chequered?", "a plaid blanket on a sofa"),
    ),
    Case(
        "attribute",
        "polka dots on clothes",
        "say how large the spots are and that they are evenly spaced",
        ("a dotted summer dress", "Does the scarf have white spots?", "a skirt with a pattern of little dots"),
    ),
    Case(
        "attribute",
        "a very large thing beside a tiny one",
        "give the size as a ratio and name something for scale",
        (
            "a giant snail towering over a house",
            "Is the mouse bigger than the car?",
            "an enormous teacup by a small dog",
        ),
    ),
    Case(
        "attribute",
        "old, worn or broken things",
        "list the damage: cracks, rust, peeling paint",
        ("a rusty abandoned truck", "Does the door look weathered?", "a shattered clay pot on the floor"),
    ),
    Case(
        "attribute",
        "an animal's fur, long and fluffy",
        "describe single hairs lit from the rim",
        ("a shaggy highland cow", "Is the kitten's coat fuzzy?", "a long-haired rabbit in the grass"),
    ),
    Case(
        "attribute",
        "the colour of hair or eyes of a person",
        "put it in the first words and name a close portrait",
        ("a redhead with freckles", "Are the woman's eyes green?", "a portrait of a blond boy"),
    ),
    Case(
        "attribute",
        "something wet or dripping",
        "describe drops, glossy highlights and puddles",
        ("a soaked dog after a swim", "Is the pavement covered with rain?", "an umbrella with water running off it"),
    ),
    Case(
        "attribute",
        "an empty container that comes out filled",
        "say that its bottom can be seen",
        ("an empty wine glass", "Is the basket free of anything inside?", "a vacant bird cage"),
    ),
    Case(
        "attribute",
        "a face that shows an emotion",
        "describe the mouth, brows and eyes instead of the feeling's name",
        ("a furious chef", "Does the girl look sad?", "an old man laughing with joy"),
    ),
    # Places
    Case(
        "spatial",
        "left and right of each other",
        "begin the prompt with on the left, then on the right, one sentence each",
        (
            "a clock to the left of a plant",
            "Is the horse on the right side of the barn?",
            "from left to right: a pear, then a bottle",
        ),
    ),
    Case(
        "spatial",
        "one thing under a piece of furniture",
        "look from a low camera near the ground",
        ("a cat beneath a table", "Is the suitcase under the bed?", "shoes below a wardrobe"),
    ),
    Case(
        "spatial",
        "one thing stacked on top of another",
        "name the lower one first and say what it carries",
        ("a book upon a globe", "Is the penguin standing atop the fridge?", "a tower of pillows with a crown on it"),
    ),
    Case(
        "spatial",
        "partly hidden behind another thing",
        "say which part peeks out on which side",
        ("a child peeking from behind a curtain", "Is the moon half covered by the hill?", "a fox in back of a tree"),
    ),
    Case(
        "spatial",
        "inside a transparent container",
        "describe the container first, then what floats or stands in it",
        ("a ship in a bottle", "Is the goldfish within the jar?", "a tiny forest enclosed in a terrarium"),
    ),
    Case(
        "spatial",
        "in between two other things",
        "write a row of three and name the middle one last",
        ("a dog sitting among two cars", "Is the lamp in the middle of the chairs?", "a house squeezed by skyscrapers"),
    ),
    Case(
        "spatial",
        "upside down or hanging by the feet",
        "say that the head points to the ground and draw it rotated",
        ("a bat dangling from a branch", "Is the chair turned over?", "an inverted pyramid"),
    ),
    Case(
        "spatial",
        "things arranged in a circle",
        "use a view from straight above and call it a ring",
        (
            "mushrooms in a fairy ring",
            "Are the stones placed round the fire?",
            "dancers forming a round, bird's eye view",
        ),
    ),
    Case(
        "spatial",
        "facing away from the camera",
        "show the back of the head and what the figure looks at",
        ("a hiker seen from the rear, gazing at a valley", "Do we see the dog's back?", "a bride turned away from us"),
    ),
    Case(
        "spatial",
        "far away in the background",
        "give the distance, make it small and hazy on the horizon",
        ("a distant castle", "Is the mountain in the rear of the scene?", "tiny sailboats on the horizon"),
    ),
    Case(
        "spatial",
        "in the corner or at the edge of the picture",
        "name the corner and leave the rest of the frame bare",
        ("a logo at the bottom right", "Is the bird in the upper left?", "a small spider in one corner of the image"),
    ),
    Case(
        "spatial",
        "somebody who rides an animal or a vehicle",
        "describe the seat, the legs on both sides and the grip of the hands",
        ("a knight on an ostrich", "Is the boy mounted on the dolphin?", "a granny on a scooter"),
    ),
    Case(
        "spatial",
        "a reflection in water or in a mirror",
        "describe the mirrored picture too, upside down below",
        (
            "a heron doubled in a still pond",
            "Can the tower be seen in the lake's surface?",
            "a girl at her vanity glass",
        ),
    ),
    # Text
    Case(
        "text",
        "a short word on a sign",
        "put the word in quotes, in capital letters, and name the typeface",
        ('a bakery board that says "OPEN"', 'Does the placard read "STOP"?', 'a shop with the inscription "Bread"'),
    ),
    Case(
        "text",
        "a long sentence that gets misspelled",
        "break it into lines of three words and spell each line in quotes",
        (
            'a poster with "the early bird catches the worm but the second mouse gets the cheese"',
            "Is the whole quotation spelled correctly?",
            "a paragraph of a letter, every word legible",
        ),
    ),
    Case(
        "text",
        "numbers, dates and prices",
        "spell the digits apart and say on what they are printed",
        ("a price tag of $4.99", "Does the calendar show 14 March?", "a jersey with the number 23"),
    ),
    Case(
        "text",
        "lettering on a curved surface",
        "call it a label that wraps around, and turn its middle to the viewer",
        ('a bottle labelled "Honey"', 'Does the mug say "Mum"?', 'a can with the brand "Zest" printed around it'),
    ),
    Case(
        "text",
        "handwriting or calligraphy",
        "name the tool, such as a brush or chalk, and the slant of the letters",
        ("a blackboard with cursive words in chalk", "Is the note written by hand?", "ink brush script on a scroll"),
    ),
    Case(
        "text",
        "neon letters that glow",
        "say that tubes form the letters on a dark wall",
        (
            'a luminous bar sign "JAZZ" at night',
            'Is the word "DINER" lit up?',
            'glowing tubes that spell "love" on bricks',
        ),
    ),
    Case(
        "text",
        "unwanted words and watermarks show up",
        "describe plain blank surfaces where the words appeared",
        ("a clean poster free of any lettering", "Is the picture without captions?", "a book with a blank cover"),
    ),
    Case(
        "text",
        "a script other than Latin",
        "quote the characters and name the language",
        (
            "a tea house with 茶 above the door",
            "Does the gate show Cyrillic letters?",
            "an Arabic greeting on a banner",
        ),
    ),
    Case(
        "text",
        "a clock's hands showing a time",
        "say where the short and the long hand point",
        ("a watch at half past three", "Does the dial show ten o'clock?", "a grandfather clock striking noon"),
    ),
    # Styles
    Case(
        "style",
        "watercolour painting",
        "name wet edges, paper texture and white left between the washes",
        ("an aquarelle of a harbour", "Does it look painted with diluted pigments?", "a loose wash of tulips on paper"),
    ),
    Case(
        "style",
        "pixel art of an old video game",
        "ask for 16 colours, hard square pixels and no blur",
        ("an 8-bit knight", "Is it made of visible blocks like a retro console?", "a sprite of a slime monster"),
    ),
    Case(
        "style",
        "black and white photograph",
        "name film grain, contrast and the lack of colour in the first words",
        ("a monochrome portrait of a sailor", "Is the photo free of colours?", "a grayscale shot of a bridge"),
    ),
    Case(
        "style",
        "pencil or charcoal sketch",
        "mention hatching, smudges and bare paper",
        ("a graphite drawing of a hand", "Are there hatched lines?", "a rough study of a dancer in coal on paper"),
    ),
    Case(
        "style",
        "Japanese anime or manga",
        "name cel shading, large eyes and clean outlines",
        ("a schoolgirl like in a Ghibli film", "Is it drawn as a Tokyo comic?", "a ninja in cel-shaded cartoon style"),
    ),
    Case(
        "style",
        "isometric miniature room",
        "say orthographic view from 45 degrees, without vanishing points",
        ("a tiny isometric bedroom", "Is the perspective parallel?", "a diorama of an office, cutaway from above"),
    ),
    Case(
        "style",
        "flat vector icon or logo",
        "limit it to three plain colours, no gradients and no shading",
        ("a minimalist emblem of a fox", "Is the design free of gradients?", "a simple app symbol of a rocket"),
    ),
    Case(
        "style",
        "oil painting of an old master",
        "name the brush strokes, canvas and the light from one side",
        ("a still life like Rembrandt's", "Are thick strokes on canvas visible?", "a baroque portrait of a merchant"),
    ),
    Case(
        "style",
        "origami or paper cut-out",
        "describe sharp folds, layers and their shadows",
        ("a crane folded from a sheet", "Does the whale look creased out of paper?", "a layered card-stock landscape"),
    ),
    Case(
        "style",
        "clay or plasticine stop motion",
        "mention finger prints and soft studio light",
        ("a claymation penguin", "Does it seem modelled from putty?", "a plasticine family at dinner"),
    ),
    Case(
        "style",
        "cinematic photo with shallow focus",
        "give the lens and aperture, such as 85mm f/1.4, and a blurred background",
        (
            "a film still of a detective with bokeh",
            "Is the backdrop out of focus?",
            "a movie-like close-up, soft depth",
        ),
    ),
    # Objects
    Case(
        "object",
        "a small accessory that gets left out",
        "name it first and describe how it is worn",
        ("a walrus with a monocle", "Does the man wear cufflinks?", "a girl with a tiny brooch on her coat"),
    ),
    Case(
        "object",
        "two animals that melt into one another",
        "keep them apart with a gap and describe each body in full",
        ("a lion and a tiger playing", "Are the sheep and the goat separate creatures?", "a parrot with an owl"),
    ),
    Case(
        "object",
        "a creature of myth that mixes bodies",
        "list the parts from head to tail with the animal each one comes from",
        ("a griffin on a rock", "Does it have an eagle's head and a lion's body?", "a centaur archer"),
    ),
    Case(
        "object",
        "many different things listed in one request",
        "group them into foreground, middle and back, three in each",
        (
            "a desk with a laptop, a cactus, a mug, a pen, a phone, a clock and a lamp",
            "Are all the listed items present?",
            "a picnic with bread, cheese, grapes, wine, plates, knives and a radio",
        ),
    ),
    Case(
        "object",
        "a musical instrument being played",
        "describe strings, keys and where both hands touch them",
        ("a jazz saxophonist", "Is she holding a cello properly?", "a bear strumming a guitar"),
    ),
    Case(
        "object",
        "a tool or machine with parts in the right place",
        "name the parts and how they join",
        ("a bicycle with its chain and pedals", "Does the windmill have its blades attached?", "a pair of scissors"),
    ),
    Case(
        "object",
        "food on a plate with its ingredients",
        "list the ingredients from the bottom layer to the top",
        ("a burger with lettuce, tomato and bacon", "Is there basil on the pizza?", "ramen with egg and seaweed"),
    ),
    Case(
        "object",
        "fire, smoke or an explosion",
        "name its source and the light that it throws on things near it",
        ("a burning barn", "Is steam rising from the chimney?", "a volcano erupting at dusk"),
    ),
    # Others
    Case(
        "other",
        "weather and the time of the day",
        "name the sky, the light's colour and the shadows",
        ("a village in a thunderstorm", "Is it snowing at dawn?", "golden hour over wheat fields"),
    ),
    Case(
        "other",
        "frozen motion of sport or dance",
        "name the moment, the limb in front and a short exposure",
        ("a gymnast in mid-air", "Is the striker kicking the ball?", "a skateboarder caught in a jump"),
    ),
    Case(
        "other",
        "a story in several comic panels",
        "describe each panel by its number and repeat how the hero looks",
        ("a four-frame strip about a lost dog", "Are there three panels?", "a comic page that tells a heist"),
    ),
    Case(
        "other",
        "the same person again as in the reference picture",
        "list face, hair, clothes and marks in each prompt, word for word",
        (
            "keep the woman of the photo, now in Paris",
            "Is she recognisably the character given?",
            "put my grandfather's likeness on a stamp",
        ),
    ),
    Case(
        "other",
        "an impossible or surreal scene",
        "state the impossible part plainly as a fact, twice",
        ("a staircase that leads into itself", "Do fish fly through the clouds?", "a melting landscape of dreams"),
    ),
    Case(
        "other",
        "a chart or diagram",
        "name the axes, the shapes and the arrows, and keep words few",
        ("an infographic of the water cycle", "Does the graph have four bars?", "a labelled cross-section of a cell"),
    ),
)

UNRELATED: Final = (
    "a photo of a bench",
    "a photo of a giraffe",
    "a suitcase",
    "a photo of a toaster",
    "a portrait of a farmer",
    "a meadow",
    "a cup of coffee",
    "a photo of a train",
    "a kitchen",
    "an owl",
    "a library",
    "a photo of a broccoli",
    "Is there a bench?",
    "Is there a giraffe in the picture?",
    "Does the picture show a kitchen?",
    "Is a train shown?",
    "a sailing boat at sea",
    "a garden in spring",
    "a street of a small town",
    "a photo of a keyboard",
    "a horse in a field",
    "a bowl of soup",
    "Is there a refrigerator?",
    "Is a farmer visible?",
)
"""Requests and questions without any difficulty that a lesson of `CASES` is about."""


class Reworded(NamedTuple):
    """The words of another trajectory for a lesson of `CASES`, which is named by its `when`; written by hand too."""

    when: str
    again: str
    advice: str


REWORDED: Final = (
    Reworded("five or more of a small thing", "many small items, five and up", "arrange them in rows of a grid"),
    Reworded("exactly two of something", "a pair of things is asked for", "say a pair: one left, one right"),
    Reworded(
        "two things with different colours that get swapped",
        "colours of two objects are mixed up",
        "give each object its own sentence together with its colour",
    ),
    Reworded(
        "a thing in a colour that it never has in nature",
        "an object whose colour is unusual for it",
        "say it is painted in that colour, and name the colour twice",
    ),
    Reworded("made of glass and see-through", "an object of transparent glass", "say that light shines through it"),
    Reworded("old, worn or broken things", "something worn out or damaged", "describe cracks, rust and peeling paint"),
    Reworded(
        "left and right of each other",
        "one object to the left or right of another",
        "start with what is on the left, then what is on the right, in two sentences",
    ),
    Reworded(
        "one thing under a piece of furniture", "an object beneath furniture", "use a low camera close to the ground"
    ),
    Reworded(
        "one thing stacked on top of another",
        "an object on top of another object",
        "name the lower object first, then what it carries",
    ),
    Reworded(
        "in between two other things",
        "a thing in the middle of two others",
        "describe three in a row, the middle one last",
    ),
    Reworded(
        "facing away from the camera", "a person seen from behind", "show the back of the head and what they look at"
    ),
    Reworded(
        "a short word on a sign", "a sign with a short text", "quote the word in capital letters and name the typeface"
    ),
    Reworded(
        "a long sentence that gets misspelled",
        "long text comes out misspelled",
        "break the text into short lines and quote each line",
    ),
    Reworded("handwriting or calligraphy", "handwritten letters", "name the brush or chalk and the slant of letters"),
    Reworded("watercolour painting", "a picture painted in watercolours", "name paper texture, wet edges and washes"),
    Reworded("black and white photograph", "a photo in black and white", "begin with film grain and no colour"),
    Reworded("flat vector icon or logo", "a flat logo or icon", "three plain colours, no shading and no gradients"),
    Reworded(
        "a small accessory that gets left out",
        "a small accessory is missing from the picture",
        "name the accessory first and how it is worn",
    ),
    Reworded(
        "many different things listed in one request",
        "the request lists many different objects",
        "sort the objects into foreground, middle and background",
    ),
    Reworded(
        "food on a plate with its ingredients",
        "a dish with several ingredients",
        "list ingredients from bottom to top layer",
    ),
    Reworded("weather and the time of the day", "time of day and weather", "name sky, shadows and colour of the light"),
    Reworded(
        "nothing of a kind may be there",
        "something must not appear in the picture",
        "do not mention what must be absent; describe what is there instead",
    ),
    Reworded(
        "two animals that melt into one another",
        "two animals merge into one",
        "keep a gap between them and describe each body",
    ),
    Reworded("a clock's hands showing a time", "a clock that shows a given time", "say where each hand points"),
)

OPPOSED: Final = (
    ("write the number as a word", "never write the number as a word"),
    ("put the text in quotes", "leave out the quotes around the text"),
    ("use a low camera near the ground", "use a high camera far above the ground"),
    ("name the colour first", "name the colour last"),
    ("write shorter prompts", "write longer prompts"),
    ("say how many there are", "do not say how many there are"),
    ("repeat the colour at the end", "repeat the colour at the beginning"),
    ("lay them out in a grid", "avoid a grid"),
    ("describe the background in detail", "keep the background plain"),
    ("give fewer details", "give more details"),
    ("put both things in one sentence", "put each thing in a sentence of its own"),
    ("write in capital letters", "write in small letters"),
    ("name the artist", "name no artist"),
    ("raise the contrast", "lower the contrast"),
    ("say it before the object", "say it after the object"),
    ("use a wide shot", "use a close shot"),
)
"""Advice, and advice against it."""
