"""How do people ask for a picture? English and Chinese captions of subjects, places, sizes and positions."""

from demo_scenes import choose

# What the composition is about; a picture with two subjects has no other.
LAYOUTS = ("middle", "small", "big", "left", "right", "pair")

# place: (phrases that follow the subject, single words, Chinese phrases)
PLACES = {
    "space": (("in space", "in outer space", "among the stars"), ("space", "stars"), ("太空中", "星空中")),
    "beach": (("on the beach", "at the beach", "by the sea"), ("beach",), ("海滩上", "沙滩上")),
    "snow": (("in the snow", "in winter", "on the snow"), ("snow", "winter"), ("雪地里", "雪中")),
    "city": (("in the city", "in a city", "on the street"), ("city", "street"), ("城市里", "街上")),
    "forest": (("in the forest", "in a forest", "in the woods"), ("forest", "woods"), ("森林里", "树林里")),
    "desert": (("in the desert", "on a sand dune"), ("desert",), ("沙漠里",)),
    "sea": (("under the sea", "underwater", "in the ocean"), ("ocean", "underwater"), ("海底", "水下")),
    "white": (("on a white background", "on white"), ("white background",), ("白色背景上",)),
    "sunset": (("at sunset", "in the sunset"), ("sunset",), ("日落时", "夕阳下")),
    "night": (("in the city at night", "at night"), ("night", "city at night"), ("夜晚的城市里", "夜里")),
    "meadow": (("in a meadow", "on the grass", "in a field"), ("meadow", "grass"), ("草地上",)),
    "mountains": (("in the mountains", "on a mountain"), ("mountains",), ("山里", "山上")),
}

PREFIXES = ("a photo of", "a picture of", "an image of", "a drawing of")
EMPTY_WORDS = ("cute", "nice", "beautiful", "3d")  # people write them; they change nothing
SIZES = {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge")}
CHINESE_LAYOUTS = {"middle": "", "small": "小小的", "big": "巨大的", "left": "左边的", "right": "右边的"}


def with_article(noun):
    if noun.endswith("s") and not noun.endswith(("ss", "us")):
        return noun
    vowel = noun[0] in "aeio" or noun.startswith("um")
    return f"{'an' if vowel else 'a'} {noun}"


def name_of(rng, subject, synonyms=0.2):
    return choose(rng, subject.synonyms) if subject.synonyms and rng.random() < synonyms else subject.name


def caption(rng, subjects, place, layout):
    """Words for one picture, different every time; `subjects` has two entries in a picture of two."""
    if all(subject.chinese for subject in subjects) and rng.random() < 0.1:
        return chinese_caption(rng, subjects, place, layout)
    phrases, words, _ = PLACES[place]
    where = phrases[0] if rng.random() < 0.6 else choose(rng, phrases)
    nouns = [name_of(rng, subject) for subject in subjects]
    if layout in SIZES:
        nouns = [f"{choose(rng, SIZES[layout])} {nouns[0]}"]
    elif layout == "middle" and rng.random() < 0.06:
        return f"{nouns[0]}, {choose(rng, words)}"
    if rng.random() < 0.04:
        nouns[0] = f"{choose(rng, EMPTY_WORDS)} {nouns[0]}"
    start = rng.random()
    if start < 0.7:
        nouns = [with_article(noun) for noun in nouns]
    elif start < 0.75:
        nouns = [f"the {noun}" for noun in nouns]
    elif start < 0.83:
        nouns = [with_article(noun) for noun in nouns]
        nouns[0] = f"{choose(rng, PREFIXES)} {nouns[0]}"
    what = " and ".join(nouns)
    if layout in ("left", "right"):
        side = f"on the {layout}"
        return choose(rng, (f"{what} {side} {where}", f"{what} {where}, {side}", f"{what} {side}, {where}"))
    return what if rng.random() < 0.04 else f"{what} {where}"


def chinese_caption(rng, subjects, place, layout):
    where = choose(rng, PLACES[place][2])
    nouns = [subject.chinese[0] if rng.random() < 0.8 else choose(rng, subject.chinese) for subject in subjects]
    what = CHINESE_LAYOUTS.get(layout, "") + "和".join(nouns)
    return f"{where}的{what}" if rng.random() < 0.75 else f"{what}在{where}"
