"""Prints phone numbers that libphonenumber considers valid, as lines of `<kind> <digits>`.

Samples the pattern of every kind of number of every region, and adds the valid variants of each sample with digits
inserted or removed after the country code, which is where two spellings of one number differ.
"""

import random
import re
from collections import defaultdict

import phonenumbers
from phonenumbers import PhoneMetadata

try:
    from re import _constants as op, _parser as sre
except ImportError:  # Before Python 3.11.
    import sre_constants as op, sre_parse as sre

KINDS = ("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip", "pager", "uan", "voicemail")
SAMPLES = 60
DEPTH = 4

random.seed(20261129)


def sample(tokens):
    out = []
    for kind, value in tokens:
        if kind is op.LITERAL:
            out.append(chr(value))
        elif kind is op.IN:
            out.append(random.choice(members(value)))
        elif kind is op.SUBPATTERN:
            out.append(sample(value[-1]))
        elif kind is op.BRANCH:
            out.append(sample(random.choice(value[1])))
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, inner = value
            out.extend(sample(inner) for _ in range(random.randint(least, most)))
        else:
            raise ValueError(f"{kind} in a pattern of libphonenumber")
    return "".join(out)


def members(items):
    digits = []
    for kind, value in items:
        if kind is op.LITERAL:
            digits.append(chr(value))
        elif kind is op.RANGE:
            digits.extend(chr(code) for code in range(value[0], value[1] + 1))
        elif kind is op.CATEGORY and value is op.CATEGORY_DIGIT:
            digits.extend("0123456789")
        else:
            raise ValueError(f"{kind} in a set of libphonenumber")
    return digits


def variants(national):
    for at in range(DEPTH):
        yield national[:at] + national[at + 1 :]
        yield national[:at] + national[at + 2 :]
        for digits in (*"0123456789", "01"):
            yield national[:at] + digits + national[at:]


def patterns():
    found = defaultdict(list)
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        metadata = PhoneMetadata.metadata_for_region(region)
        for kind in KINDS:
            pattern = getattr(getattr(metadata, kind), "national_number_pattern", None)
            if pattern:
                found[metadata.country_code].append((kind, pattern, re.compile(pattern)))
    return found


for country, lines in patterns().items():
    valid = {}
    for kind, pattern, _ in lines:
        parsed = sre.parse(pattern)
        for _ in range(SAMPLES):
            national = sample(parsed)
            for candidate in (national, *variants(national)):
                for other, _, compiled in lines:
                    if compiled.fullmatch(candidate):
                        valid.setdefault(candidate, other)
    for national, kind in sorted(valid.items()):
        print(kind, f"{country}{national}")
