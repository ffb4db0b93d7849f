"""Words outside the vocabulary that the reader must tell apart: what has no effect, and what cannot be drawn.

A list cannot be complete; `phrases.py` judges the words that stand in none of these by their place and their ending.
"""

from __future__ import annotations

from typing import Final


def words_of(text: str) -> frozenset[str]:
    """The words of a text, once each."""
    return frozenset(text.split())


SILENT: Final = words_of(
    """please kindly painting paintings snapshot snapshots draw paint sketch render generate create make produce
    design give show depict illustrate imagine me us i we you can could would should like want need let see look s
    that which who whose this these those here where when be been being also too very really quite just then thus so
    such as there its their his her my our your image picture photo photograph pic scene shot illustration
    drawing rendering artwork art depiction visual composition frame canvas containing contains contain featuring
    features feature showing shows depicting depicts displaying displays including includes include consisting total
    altogether exactly precisely only solely visible shown seen placed located positioned situated arranged set
    sitting sits sit standing stands stand lying lies lie resting rests rest sat stood lay has have having colored
    coloured color colour colors colours anything something somewhere nothing else other others one's object objects
    item items thing things together directly immediately slightly completely entirely fully all both
    clearly side group groups row rows column columns line lines grid it them they he she itself themselves same
    different various kind kinds type types sort number amount count following letter letters word words text
    lettering alone separate distinct individual equal equally evenly spaced apart no-one nobody well far"""
)
"""Words that carry no wish of their own: function words, words for pictures and for drawing, fillers."""

ADJECTIVES: Final = words_of(
    """majestic beautiful pretty lovely cute adorable gorgeous stunning amazing awesome epic fantastic magnificent
    elegant fancy nice good great perfect best high low quality highly detailed detail details intricate realistic
    photorealistic hyperrealistic ultrarealistic surreal abstract minimal minimalist minimalistic simple clean clear
    crisp sharp sharpness focus focused blurry blurred bokeh soft hard warm cool cold hot bright dark dim dull vivid
    vibrant colorful colourful monochrome pastel neon moody dramatic cinematic atmospheric dreamy whimsical magical
    mystical mysterious ethereal eerie spooky scary creepy funny silly goofy happy sad angry sleepy tired playful
    cheerful grumpy proud brave gentle calm quiet peaceful serene tranquil busy lonely hungry thirsty wild tame
    domestic stray old ancient antique vintage retro classic modern futuristic contemporary traditional new young baby
    adult little small tiny mini miniature medium large big huge giant enormous gigantic massive colossal oversized
    long short tall wide narrow thick thin slim fat chubby plump skinny round square rectangular triangular flat
    curved straight crooked bent broken cracked worn rusty dusty dirty muddy messy tidy neat shiny glossy matte
    polished smooth rough fuzzy fluffy furry hairy woolly silky wet dry fresh ripe rotten juicy tasty delicious yummy
    sweet sour sliced half-eaten empty full open closed half whole front rear upper lower top bottom middle center
    central main other first second third fourth fifth next last lone solitary alive asleep awake outside outdoors
    outdoor indoor upright upside-down upside down sideways facing lateral frontal aerial overhead panoramic macro
    close-up closeup wide-angle portrait landscape profile full-body fullbody isometric symmetrical symmetric
    asymmetrical balanced centered centred masterpiece masterful award-winning professional amateur trending
    artstation deviantart unreal octane vray raytraced raytracing hdr uhd hd 4k 8k 16k dslr nikon canon leica kodak
    polaroid analog lens exposure iso resolution hi-res high-res highres lowres ultra super hyper mega extra extremely
    incredibly insanely watercolor watercolour oil acrylic ink charcoal crayon chalk gouache pixel vector lowpoly
    low-poly 3d 2d cgi anime manga cartoon cartoonish comic disney pixar ghibli baroque gothic impressionist
    impressionism cubist cubism expressionist surrealist pop-art deco nouveau ukiyo-e renaissance victorian medieval
    steampunk cyberpunk vaporwave synthwave noir grunge rustic cozy cosy comfy homely lush tropical arctic rural urban
    suburban national american english british french german italian spanish japanese chinese indian african european
    asian mexican royal famous popular typical ordinary normal regular common rare unusual strange weird odd bizarre
    unique special lucky golden-hour style styled aesthetic mood vibe vibes theme themed effect effects texture
    textures textured pattern patterned material materials tone tones palette contrast saturation saturated muted
    faded light lights lighting lit backlit sunlight sunlit moonlight moonlit candlelight glow shadow shadows shade
    reflection reflections highlight highlights haze hazy foggy misty cloudy sunny rainy stormy windy sky skies floor
    ground wall walls ceiling horizon scenery surroundings environment setting view perspective angle distance
    foreground depth air ambience ambiance atmosphere weather summer spring autumn fall morning afternoon evening noon
    day daytime daylight midnight today feeling sense emotion touch elements element subject subjects feel look looks
    overall harmony beauty elegance style's fashion version edition series stylized stylised rendered painted drawn
    hand-drawn handmade handcrafted crafted carved sculpted knitted crocheted fashionable cushioned leafy crowded
    quietly loudly happily fast slow slowly quickly away around along across through against toward towards into onto
    off up out back forward backwards nearby inside within midair again always often sometimes still already yet
    even almost nearly about approximately roughly maybe perhaps probably pure solid plain natural organic raw
    wooden-framed leather cotton silk velvet denim paper cardboard ceramic porcelain clay rubber concrete granite
    crystal gold silver bronze copper brass iron steel chrome aluminum aluminium teal turquoise cyan magenta beige
    maroon navy lavender indigo olive tan ivory lime amber coral salmon ruby emerald sapphire azure multicolored
    multicoloured rainbow-colored transparent translucent opaque invisible alert lively curious cuddly loyal friendly
    fierce dangerous deadly poisonous venomous male female pregnant blind smiling laughing grinning loving living
    sleeping flying sky-high stereo digital electric electronic mechanical wireless automatic manual portable folding
    domesticated feral sports racing flagship public private local royal-blue street-style left-handed right-handed
    tasteful detailed-looking ok okay hello hi thanks thank now soon later once version's arrangement
    requirement requirements request requests prompt prompts following order project presentation blog article story
    stories tale website homework lesson class purpose purposes reason example examples result results idea ideas
    concept task job work works piece content contents background-free sale sold purchase hire rent use wish wishes
    gift-worthy layout layouts placement placements position positions space-saving size sizes shape shapes form forms
    way manner lot lots bit couple-like part parts pieces whole-scene child's children's kid's people's man's woman's
    yesterday tomorrow week month year century era age time times winter-like top-down bird's-eye worm's-eye true real
    really genuine fake artificial virtual imaginary fictional fabulous glorious heroic legendary iconic timeless
    sunlight-filled storybook fairytale fairy-tale dreamlike otherworldly celestial cosmic galactic interstellar
    nocturnal festive christmas halloween easter birthday wedding holiday seasonal romantic nostalgic melancholic
    joyful energetic dynamic static action candid posed editorial commercial advertising stock product studio-lit
    studio-quality cover wallpaper poster-like logo-like icon sticker clipart clip-art doodle graphic graphics print
    render fog rain dust mud lightning smoke wave waves raindrop raindrops snowflake snowflakes droplets rays rim logo
    symbol emblem uncropped cropped bordered borderless unfinished finished final draft rough-looking
    taller bigger smaller larger shorter longer wider older younger darker lighter brighter tied rendition
    interpretation impression variation combination celebration please-and-thank-you"""
)
"""Words without effect on the engine: looks, moods, sizes, styles, camera and light, unlisted materials and shades."""

SHADES: Final = words_of(
    """gold silver bronze copper brass iron steel chrome aluminum aluminium leather cotton silk velvet denim paper
    cardboard ceramic porcelain clay rubber concrete granite crystal teal turquoise cyan magenta beige maroon navy
    lavender indigo olive tan ivory lime amber coral salmon ruby emerald sapphire azure multicolored multicoloured
    rainbow-colored transparent translucent royal-blue"""
)
"""The colours and materials among the adjectives: they have no effect either, but a request means them."""

VERBS: Final = words_of(
    """compose arrange add adds added keep ensure include avoid remember note feature combine mix is are was were be
    am do does did run runs ran eat eats ate drink drinks drank hold holds held wear wears wore ride rides rode drive
    drives drove fly flies flew swim swims swam sleep sleeps slept jump jumps play plays chase chases watch watches
    look looks looked hang hangs hung climb climbs walk walks walked float floats carry carries push pushes pull pulls
    read reads write writes wrote sing sings sang dance dances cook cooks bake bakes kick kicks throw throws threw
    catch catches caught bite bites bit lick licks sniff sniffs hug hugs kiss kisses touch touches lean leans leaned
    face faces fight fights fought grow grows grew bloom blooms shine shines shone burn burns burnt glow glows rest
    rests wait waits perch perches perched hide hides hid hidden leap leaps leapt sail sails travel travels come comes
    came go goes went gone stay stays keeps kept get gets got take takes took taken put puts made makes cover covers
    fill fills surround surrounds appear appears exist exists remain remains belong belongs use uses avoids bark barks
    meow meows graze grazes roam roams wag wags spread spreads lie laid seen shown built bound worn torn left sold set
    cut lit"""
)
"""Verbs without a regular ending; they have no effect, icons having no poses."""

NOUNS: Final = words_of(
    """dragon unicorn phoenix griffin mermaid fairy elf dwarf orc goblin troll ogre giantess wizard witch vampire
    zombie ghost demon devil angel god goddess alien monster creature dinosaur pterodactyl hydra centaur minotaur
    werewolf knight king queen prince princess pirate ninja samurai soldier warrior astronaut cowboy clown superhero
    batman superman spiderman mario pikachu santa snowman nurse doctor chef teacher policeman policewoman police
    firefighter fireman farmer fisherman sailor pilot driver dancer singer musician artist painter scientist student
    baby-doll toddler infant teenager bride groom family crowd couple's team audience wolf deer moose elk antelope
    buffalo bison camel llama alpaca donkey mule goat ram ox bull calf boar hog hippo hippopotamus rhino rhinoceros
    leopard cheetah jaguar panther cougar lynx hyena jackal coyote meerkat otter beaver squirrel chipmunk hedgehog
    porcupine badger skunk mole rat hamster gerbil ferret weasel mongoose sloth armadillo anteater opossum platypus
    wombat lemur gorilla chimpanzee orangutan ape baboon seal walrus whale dolphin shark octopus squid jellyfish crab
    lobster shrimp clam oyster starfish seahorse eel ray crocodile alligator lizard gecko iguana chameleon frog toad
    newt salamander snail slug worm spider scorpion ant bee wasp hornet fly mosquito beetle ladybug dragonfly
    grasshopper cricket moth caterpillar eagle hawk falcon vulture crow raven magpie sparrow robin pigeon dove seagull
    gull pelican stork heron swan goose turkey chicken hen rooster peacock ostrich emu parrot toucan woodpecker
    hummingbird puffin power castle palace tower skyscraper building cottage cabin hut barn farmhouse church cathedral
    temple mosque shrine pagoda pyramid lighthouse windmill bridge tunnel dam fence gate door window roof chimney
    balcony porch stairs staircase ladder elevator escalator statue sculpture monument fountain pool pond river stream
    waterfall canal island volcano cave cliff canyon valley glacier iceberg hill rock rocks boulder pebble cloud
    clouds sun moon planet earth mars saturn galaxy comet meteor rainbow fire flame campfire fireplace bonfire
    fireworks lava ice icicle leaf leaves branch root log bush hedge cactus palm bamboo rose daisy sunflower lily
    orchid dandelion lotus ivy moss fern vine grapevine seaweed hat cap helmet scarf glove gloves mitten coat jacket
    hoodie sweater shirt t-shirt tshirt blouse dress skirt pants trousers jeans shorts socks sock shoe shoes boot
    boots sandal sandals sneaker sneakers slipper belt glasses eyeglasses sunglasses goggles mask cape cloak robe
    armor armour suit tuxedo uniform apron pajamas swimsuit bikini necklace bracelet ring earring earrings watch
    wristwatch jewel gem diamond pearl wallet bag basket box crate barrel bucket jar jug pitcher kettle teapot pot pan
    skillet plate saucer tray dish chopsticks straw napkin tablecloth candleholder candlestick lamp lantern lightbulb
    bulb chandelier flashlight torch mirror curtain blanket pillow mattress carpet rug towel soap shampoo comb brush
    razor broom mop vacuum bin trash garbage dustbin shelf bookshelf cabinet cupboard drawer dresser wardrobe closet
    desk stool armchair bathtub bath shower faucet tap dishwasher washer dryer fan heater radiator airconditioner
    radio speaker headphones earphones microphone camera camcorder projector printer scanner tablet computer monitor
    screen server router cable plug battery charger calculator telescope microscope binoculars compass map globe pen
    pencil marker eraser ruler notebook newspaper magazine envelope letterbox mailbox stamp card cards dice puzzle
    chess chessboard pawn doll puppet yo-yo marble marbles swing slide seesaw trampoline tent rope chain hook anchor
    hammer screwdriver wrench saw drill axe shovel rake hoe wheelbarrow nail screw bolt sword shield spear bow arrow
    gun rifle pistol cannon bomb bullet dagger staff wand potion scroll treasure chest coin coins money bill dollar
    flag trophy medal ribbon bell whistle flute clarinet saxophone trombone tuba harp cello banjo ukulele harmonica
    accordion keyboardist xylophone tambourine cymbal rocket spaceship spacecraft satellite ufo helicopter glider
    parachute submarine canoe kayak raft yacht ferry cruise tank tractor bulldozer excavator crane forklift ambulance
    firetruck van taxi cab limousine caravan camper rv tram trolley subway locomotive wagon carriage cart sled sleigh
    scooter moped segway wheelchair stroller tricycle unicycle wheel tire engine propeller traffic crosswalk sidewalk
    lamppost streetlight bread loaf toast baguette bun roll muffin cupcake pancake waffle pie tart pastry pretzel
    biscuit cracker chocolate candy lollipop icecream gelato popsicle pudding jelly honey jam butter cheese milk cream
    yogurt egg eggs bacon sausage ham steak meat beef pork burger hamburger cheeseburger fries chips popcorn peanut
    nut nuts almond walnut acorn chestnut soup salad noodles pasta spaghetti ramen rice sushi taco burrito curry
    dumpling dumplings sauce ketchup mustard salt pepper sugar spice tea coffee juice lemonade soda cola beer wine
    whiskey cocktail champagne lemon grape grapes melon watermelon pineapple mango papaya kiwi peach pear plum cherry
    cherries strawberry strawberries blueberry raspberry blackberry cranberry coconut avocado fig pomegranate tomato
    tomatoes potato potatoes onion garlic cucumber lettuce cabbage cauliflower spinach celery eggplant pumpkin squash
    zucchini corn pea peas bean beans radish beet turnip chili asparagus artichoke olive-tree head face eye eyes ear
    nose mouth tooth teeth tongue lip hair beard mustache hand hands finger arm leg foot feet paw tail wing wings horn
    horns feather fur skin bone skull skeleton heart brain nest cage aquarium fishbowl kennel stable coop egg-shell
    web cocoon hive shell cross circle triangle cube sphere cone cylinder heartshape machine device gadget tool gear
    cog pipe piston crystal-ball bubble bubbles confetti puddle shipwreck treehouse doghouse birdhouse greenhouse
    warehouse factory hospital school library museum theater cinema bank hotel restaurant cafe bakery shop store
    supermarket market mall station airport harbor harbour port dock pier runway stadium arena court playground zoo
    circus carousel rollercoaster farm vineyard orchard cemetery grave tombstone coffin prison jail throne altar
    flagpole scarecrow windchime mistletoe wreath garland ornament present gift package parcel bouquet petal stem seed
    twig stick plank brick tile bricks glassware cutlery string clothing"""
)
"""Common things that icons do not exist for. Plurals in -s are found too."""

ADJECTIVE_ENDINGS: Final = (
    "ful", "ous", "ic", "ical", "ive", "less", "able", "ible", "ish", "like", "esque", "ed", "ing", "ly", "wise", "est",
    "tion", "sion", "ment", "ity", "ance", "ence", "ship", "hood",
    "style", "styled", "shaped", "sized", "looking", "themed", "colored", "coloured", "inspired", "toned", "ism", "ness",
)  # fmt: skip
"""Endings that mark a word without effect, unless it is listed as a thing."""
