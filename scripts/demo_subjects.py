"""Which things does the demo model learn? A hundred chosen ones on a CPU, every sprite that suits a scene on a GPU."""

from dataclasses import dataclass
from pathlib import Path

import demo_fetch


@dataclass
class Subject:
    """A thing that can be drawn: its picture, and what people call it."""

    name: str
    file: Path
    synonyms: tuple
    chinese: tuple
    weight: float  # how often it is drawn relative to the rest


# name: (emoji label of the sprite, Chinese words, other English words, weight)
# Chosen to look unlike each other at 128 pixels; the first of them are what people try first.
CHOSEN = {
    "dog": ("dog face", "狗 小狗", "puppy, doggy", 2.5),
    "cat": ("cat face", "猫 小猫", "kitten, kitty", 2.0),
    "rocket": ("rocket", "火箭 太空船", "spaceship, rocket ship", 1.6),
    "penguin": ("penguin", "企鹅", "", 1.6),
    "taxi": ("taxi", "出租车", "yellow cab, yellow taxi", 1.6),
    "fox": ("fox", "狐狸", "red fox", 1.6),
    "panda": ("panda", "熊猫", "panda bear", 1.3),
    "rabbit": ("rabbit face", "兔子", "bunny", 1.0),
    "lion": ("lion", "狮子", "", 1.0),
    "frog": ("frog", "青蛙", "green frog", 1.0),
    "owl": ("owl", "猫头鹰", "", 1.3),
    "elephant": ("elephant", "大象", "", 1.0),
    "unicorn": ("unicorn", "独角兽", "", 1.0),
    "octopus": ("octopus", "章鱼", "", 1.3),
    "astronaut": ("astronaut", "宇航员", "spaceman, cosmonaut", 1.3),
    "robot": ("robot", "机器人", "", 1.3),
    "ghost": ("ghost", "鬼", "", 1.0),
    "car": ("automobile", "汽车", "red car", 1.0),
    "sailboat": ("sailboat", "帆船", "boat, sailing boat", 1.0),
    "house": ("house", "房子", "home", 1.0),
    "castle": ("castle", "城堡", "palace", 1.3),
    "tree": ("deciduous tree", "树", "green tree", 1.0),
    "snowman": ("snowman", "雪人", "", 1.0),
    "apple": ("red apple", "苹果", "red apple", 1.0),
    "tiger": ("tiger face", "老虎", "", 1.0),
    "cow": ("cow face", "奶牛", "", 1.0),
    "pig": ("pig face", "猪", "piglet", 1.0),
    "horse": ("horse face", "马", "pony", 1.0),
    "monkey": ("monkey face", "猴子", "", 1.0),
    "mouse": ("mouse face", "老鼠", "", 1.0),
    "bear": ("bear", "熊", "brown bear", 1.0),
    "koala": ("koala", "考拉", "", 1.0),
    "wolf": ("wolf", "狼", "", 1.0),
    "dragon": ("dragon face", "龙", "", 1.0),
    "chick": ("front-facing baby chick", "小鸡", "baby chicken", 1.0),
    "duck": ("duck", "鸭子", "", 1.0),
    "flamingo": ("flamingo", "火烈鸟", "", 1.0),
    "peacock": ("peacock", "孔雀", "", 1.0),
    "parrot": ("parrot", "鹦鹉", "", 1.0),
    "turtle": ("turtle", "乌龟", "tortoise", 1.0),
    "snake": ("snake", "蛇", "", 1.0),
    "whale": ("spouting whale", "鲸鱼", "", 1.0),
    "dolphin": ("dolphin", "海豚", "", 1.0),
    "fish": ("tropical fish", "鱼", "tropical fish", 1.0),
    "shark": ("shark", "鲨鱼", "", 1.0),
    "crab": ("crab", "螃蟹", "", 1.0),
    "jellyfish": ("jellyfish", "水母", "", 1.0),
    "butterfly": ("butterfly", "蝴蝶", "", 1.0),
    "bee": ("honeybee", "蜜蜂", "honeybee", 1.0),
    "ladybug": ("lady beetle", "瓢虫", "ladybird", 1.0),
    "snail": ("snail", "蜗牛", "", 1.0),
    "giraffe": ("giraffe", "长颈鹿", "", 1.0),
    "zebra": ("zebra", "斑马", "", 1.0),
    "camel": ("camel", "骆驼", "", 1.0),
    "dinosaur": ("T-Rex", "恐龙", "t-rex", 1.0),
    "hedgehog": ("hedgehog", "刺猬", "", 1.0),
    "bus": ("bus", "公交车", "", 1.0),
    "ambulance": ("ambulance", "救护车", "", 1.0),
    "fire truck": ("fire engine", "消防车", "fire engine", 1.0),
    "tractor": ("tractor", "拖拉机", "", 1.0),
    "train": ("locomotive", "火车", "steam train, locomotive", 1.0),
    "airplane": ("airplane", "飞机", "plane, aeroplane", 1.0),
    "helicopter": ("helicopter", "直升机", "", 1.0),
    "bicycle": ("bicycle", "自行车", "bike", 1.0),
    "ufo": ("flying saucer", "飞碟", "flying saucer", 1.0),
    "tent": ("tent", "帐篷", "", 1.0),
    "umbrella": ("umbrella", "雨伞", "", 1.0),
    "balloon": ("balloon", "气球", "red balloon", 1.0),
    "gift": ("wrapped gift", "礼物", "present", 1.0),
    "soccer ball": ("soccer ball", "足球", "football", 1.0),
    "basketball": ("basketball", "篮球", "", 1.0),
    "guitar": ("guitar", "吉他", "", 1.0),
    "camera": ("camera", "相机", "", 1.0),
    "television": ("television", "电视", "tv", 1.0),
    "alarm clock": ("alarm clock", "闹钟", "clock", 1.0),
    "crown": ("crown", "皇冠", "golden crown", 1.0),
    "top hat": ("top hat", "礼帽", "hat", 1.0),
    "teddy bear": ("teddy bear", "泰迪熊", "teddy", 1.0),
    "trophy": ("trophy", "奖杯", "cup", 1.0),
    "banana": ("banana", "香蕉", "", 1.0),
    "strawberry": ("strawberry", "草莓", "", 1.0),
    "watermelon": ("watermelon", "西瓜", "", 1.0),
    "pineapple": ("pineapple", "菠萝", "", 1.0),
    "grapes": ("grapes", "葡萄", "", 1.0),
    "pizza": ("pizza", "披萨", "slice of pizza", 1.0),
    "hamburger": ("hamburger", "汉堡包", "burger", 1.0),
    "doughnut": ("doughnut", "甜甜圈", "donut", 1.0),
    "ice cream": ("soft ice cream", "冰淇淋", "ice cream cone", 1.0),
    "cake": ("birthday cake", "蛋糕", "birthday cake", 1.0),
    "carrot": ("carrot", "胡萝卜", "", 1.0),
    "mushroom": ("mushroom", "蘑菇", "", 1.0),
    "cactus": ("cactus", "仙人掌", "", 1.0),
    "palm tree": ("palm tree", "棕榈树", "palm", 1.0),
    "sunflower": ("sunflower", "向日葵", "", 1.0),
    "rose": ("rose", "玫瑰", "red rose", 1.0),
    "alien": ("alien", "外星人", "", 1.0),
    "skull": ("skull", "骷髅", "", 1.0),
    "pumpkin": ("jack-o-lantern", "南瓜", "jack-o-lantern", 1.0),
    "heart": ("red heart", "心", "red heart", 1.0),
    "planet": ("ringed planet", "行星", "ringed planet", 1.0),
}


def chosen(data, work):
    files = sprite_files(data)
    return [
        Subject(name, files[label], tuple(filter(None, synonyms.split(", "))), tuple(chinese.split()), weight)
        for name, (label, chinese, synonyms, weight) in CHOSEN.items()
    ]


def every(data, work):
    """All sprites marked for scenes under their labels; a tag is a synonym where it can mean one subject only. What
    was chosen by hand keeps its plain name and its weight."""
    sprites = {s["label"]: s for s in demo_fetch.read_lines(data / "sprites.jsonl") if s["scene_use"]}
    uses = {}
    for sprite in sprites.values():
        for tag in set(sprite["tags"]):
            uses[tag] = uses.get(tag, 0) + 1
    chinese = demo_fetch.chinese_names(work)
    hand_made = {label: name for name, (label, *_) in CHOSEN.items()}
    by_hand = {subject.name: subject for subject in chosen(data, work)}
    taken, subjects = set(by_hand), []
    for label, sprite in sprites.items():
        if label in hand_made:
            subjects.append(by_hand[hand_made[label]])
        elif label.lower() not in taken:
            taken.add(label.lower())
            tags = tuple(tag for tag in sprite["tags"] if uses[tag] == 1 and tag not in by_hand)
            names = tuple(filter(None, [chinese.get(label)]))
            subjects.append(Subject(label.lower(), data / sprite["file"], tags, names, 1.0))
    return subjects


def sprite_files(data):
    """The first picture of each emoji label."""
    files = {}
    for sprite in demo_fetch.read_lines(data / "sprites.jsonl"):
        files.setdefault(sprite["label"], data / sprite["file"])
    return files
