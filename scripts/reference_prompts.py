"""What does a prompt of stable-diffusion-webui mean? Written from its documented rules, the plain and slow way.

Weights: `parse_prompt_attention`; schedules: `get_learned_conditioning_prompt_schedules`; parts: `AND` and `:weight`;
chunks: 75 tokens, `BREAK`, 20 tokens back to a comma. Where the original raises an exception, as for the weight
`1.2.3`, the characters are text.
"""

import re
import struct
from hashlib import sha256

ROOM, COMMA_REACH = 75, 20
DECIMAL = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
SPECIAL = "\\[]():|"


# ---------------------------------------------------------------------------------------------- emphasis


def lexemes(text):
    """Escapes, brackets, weights that end a bracket, and runs of other text."""
    pattern = rf"\\[()\[\]\\]|\\|[()\[\]]|:\s*{DECIMAL}\s*\)|[^\\()\[\]:]+|:"
    return re.findall(pattern, text)


def fragments(text):
    """[text, weight] in order; a BREAK is [None, None]."""
    out, opened = [], {"(": [], "[": []}

    def close(kind, factor):
        for item in out[opened[kind].pop() :]:
            item[1] = max(-1e300, min(1e300, item[1] * factor))

    for lexeme in lexemes(text):
        if lexeme[0] == "\\":
            out.append([lexeme[1:], 1.0])
        elif lexeme in opened:
            opened[lexeme].append(len(out))
        elif lexeme[-1] == ")" and opened["("]:
            close("(", 1.1 if lexeme == ")" else float(lexeme[1:-1]))
        elif lexeme == "]" and opened["["]:
            close("[", 1 / 1.1)
        else:
            first, *others = re.split(r"\s*\bBREAK\b\s*", lexeme)
            out.append([first, 1.0])
            for other in others:
                out += [["BREAK", -1.0], [other, 1.0]]
    while opened["("]:
        close("(", 1.1)
    while opened["["]:
        close("[", 1 / 1.1)
    merged = out[:1] or [["", 1.0]]
    for text, weight in out[1:]:
        if weight == merged[-1][1]:
            merged[-1][0] += text
        else:
            merged.append([text, weight])
    return [[None, None] if item == ["BREAK", -1.0] else item for item in merged]


# ---------------------------------------------------------------------------------------------- schedules


class Reader:
    """Tries each bracket as the start of a group; one that starts none is text, outside of groups only.

    A node is a string, ("choice", alternatives) or ("switch", before, after, when)."""

    def __init__(self, text, steps, before=None):
        self.text, self.steps, self.before, self.known = text, steps, before, {}

    def plain(self, at):
        """The end of the run of plain text that starts at `at`; None if a backslash escapes nothing."""
        while at < len(self.text) and (self.text[at] not in SPECIAL or self.text[at] == "\\"):
            if self.text[at] == "\\":
                if at + 1 >= len(self.text) or self.text[at + 1] == "\n":
                    return None
                at += 1
            at += 1
        return at

    def group(self, start):
        if start not in self.known:
            self.known[start] = self.read_group(start)
        return self.known[start]

    def read_group(self, start):
        """(nodes, end) of the group that opens at `start`, or None."""
        parts, separators, ends, at = [[]], [], [], start + 1
        while at < len(self.text):
            sign = self.text[at]
            if sign in "([":
                inner = self.group(at)
                if inner is None:
                    return None
                parts[-1] += inner[0]
                at = inner[1]
            elif sign in ":|":
                separators.append(sign)
                ends.append(at)
                parts.append([])
                at += 1
            elif sign in ")]":
                if sign != {"(": ")", "[": "]"}[self.text[start]]:
                    return None
                nodes = self.meaning(start, at, parts, "".join(separators), ends)
                return None if nodes is None else (nodes, at + 1)
            else:
                end = self.plain(at)
                if end is None:
                    return None
                parts[-1].append(self.text[at:end])
                at = end
        return None

    def meaning(self, start, end, parts, separators, ends):
        opening, closing = self.text[start], self.text[end]
        if separators == "":
            return [opening, *parts[0], closing]
        if opening == "(":
            return [opening, *parts[0], ":", *parts[1], closing] if separators == ":" else None
        if set(separators) == {"|"}:
            return [("choice", parts)]
        number = self.text[ends[-1] + 1 : end].strip()
        if separators not in (":", "::") or not re.fullmatch(DECIMAL + "(?:[eE][-+]?[0-9]+)?", number):
            return None
        when = max(-1e300, min(1e300, float(number)))
        if self.before is not None:
            when -= 1.0 if "." in number else self.before
        when = min(self.steps, int(when * self.steps if "." in number else when))
        return [("switch", [] if separators == ":" else parts[0], parts[-2], when)]

    def read(self):
        """The nodes of the whole text, or None if it has no meaning."""
        nodes, at = [], 0
        while at < len(self.text):
            sign = self.text[at]
            group = self.group(at) if sign in "([" else None
            if group is not None:
                nodes += group[0]
                at = group[1]
            elif sign == "|":
                return None
            elif sign in "()[]:":
                nodes.append(sign)
                at += 1
            else:
                end = self.plain(at)
                if end is None:
                    return None
                nodes.append(self.text[at:end])
                at = end
        return nodes


def steps_of(nodes, steps):
    for node in nodes:
        if node[0] == "choice":
            yield from range(1, steps + 1)
            for part in node[1]:
                yield from steps_of(part, steps)
        elif node[0] == "switch":
            yield node[3]
            yield from steps_of(node[1] + node[2], steps)


def at_step(nodes, step):
    out = ""
    for node in nodes:
        if node[0] == "choice":
            out += at_step(node[1][(step - 1) % len(node[1])], step)
        elif node[0] == "switch":
            out += at_step(node[1] if step <= node[3] else node[2], step)
        else:
            out += node
    return out


def schedule(text, steps, before=None):
    """[last step, text] in order; of a second pass, after `before` steps of the first: there fractions go on from 1,
    whole numbers from `before`."""
    nodes = Reader(text, steps, before).read()
    if nodes is None:
        return [[steps, text]]
    ends = {steps, *(step for step in steps_of(nodes, steps) if step >= 1)}
    return [[end, at_step(nodes, end)] for end in sorted(ends)]


# ---------------------------------------------------------------------------------------------- parts and chunks


def parts(text):
    """(text, weight) of each."""
    for part in re.split(r"\bAND\b", text):
        weighed = re.fullmatch(rf"(.*?)\s*:\s*({DECIMAL})\s*", part, re.S)
        yield (weighed[1], float(weighed[2])) if weighed else (part.rstrip(), 1.0)


def chunks(text, tokenize, comma, start, end, pad):
    """(ids, weights) of 77 each."""
    out, ids, weights, last_comma = [], [], [], None

    def finish():
        nonlocal ids, weights, last_comma
        rest = ROOM - len(ids)
        framed = [start, *ids, *[end] * (rest + 1)]
        after = framed.index(end) + 1
        if pad != end:
            framed[after:] = [pad] * (len(framed) - after)
        out.append((framed, [1.0, *weights, *[1.0] * (rest + 1)]))
        ids, weights, last_comma = [], [], None

    for words, weight in fragments(text):
        if words is None:
            finish()
            continue
        for id in tokenize(words):
            if id == comma:
                last_comma = len(ids)
            elif len(ids) == ROOM and last_comma is not None and ROOM - last_comma <= COMMA_REACH:
                moved = ids[last_comma + 1 :], weights[last_comma + 1 :]
                ids, weights = ids[: last_comma + 1], weights[: last_comma + 1]
                finish()
                ids, weights = moved
            if len(ids) == ROOM:
                finish()
            ids.append(id)
            weights.append(max(-3.4028234663852886e38, min(3.4028234663852886e38, weight)))
    if ids or not out:
        finish()
    return out


def digest(chunks):
    """Of each chunk's ids, as little-endian 64-bit numbers, and its weights, as floats of 32 bits."""
    hashed = sha256()
    for ids, weights in chunks:
        hashed.update(struct.pack(f"<{len(ids)}q{len(weights)}f", *ids, *weights))
    return hashed.hexdigest()[:16]
