"""The shop of a simulated world: its category tree and items, and drawing from them in whole columns.

Inside the simulator types and items are 0-based; item n is external id "i{n + 1}".
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.data.synthetic.world import World
from searec.data.synthetic.world_words import ARTICLES, AUDIENCE, CITIES, COMPLEMENTS, SHOP, VARIANTS
from searec.errors import SettingsError

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

TIERS = 3
_TIER_PRICE = np.array([0.6, 1.0, 1.7])
_TWO_ADJECTIVES = 0.4
_CITY_SPREAD = 0.6


@dataclass(frozen=True)
class Family:
    """One family of product types, as written in the word lists."""

    department: int
    name: str
    broad: str
    use: str
    adjectives: tuple[str, ...]
    variant: str
    price: float
    types: tuple[str, ...]


@dataclass(frozen=True)
class Department:
    """One department: `lean` -1 (men) .. 1 (women), `age` the age group it fits best, nine brands."""

    name: str
    lean: float
    age: float
    brands: tuple[str, ...]


def read_tree(text: str, departments: int, families: int, types: int) -> tuple[list[Department], list[Family]]:
    """Read departments and families, the first of each level.

    Args:
        text: `world_words.TREE`.
        departments: how many.
        families: of each department.
        types: of each family.
    """
    leaves: list[Department] = []
    branches: list[Family] = []
    for line in text.strip().replace("\n    ", " ").splitlines():
        parts = [part.strip() for part in line.lstrip("# ").split(";")]
        if line.startswith("#"):
            leaves.append(Department(parts[0], float(parts[1]), float(parts[2]), tuple(parts[3].split())))
        else:
            names = tuple(name.strip() for name in parts[6].split(","))[:types]
            branches.append(
                Family(
                    len(leaves) - 1,
                    parts[0],
                    parts[1],
                    parts[2],
                    tuple(parts[3].split()),
                    parts[4],
                    float(parts[5]),
                    names,
                )
            )
    leaves = leaves[:departments]
    nth = [sum(b.department == a.department for b in branches[:i]) for i, a in enumerate(branches)]
    return leaves, [
        f for f, place in zip(branches, nth, strict=True) if f.department < departments and place < families
    ]


class Vocabulary:
    """Texts by code; code 0 is no text (null)."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes(self, texts: list[str] | tuple[str, ...]) -> NDArray[np.int32]:
        """[n] the codes of the texts, new ones added."""
        return np.array([self._codes.setdefault(text, len(self._codes) + 1) for text in texts], dtype=np.int32)

    @property
    def texts(self) -> pl.Series:
        """All texts in code order, null first."""
        return pl.Series([None, *self._codes], dtype=pl.String)


@dataclass(frozen=True)
class Shop:
    """Tree, items and draws. T types, I items, D departments; a code points into `words`, 0 for no word.

    departments: [D]; lean, age as in Department; city_lean [cities, D].
    type_department, type_family: [T]; department_first [D + 1], for types lie department by department.
    complements: [T, 2] types; partner [I] the item that goes with an item, of the type's first complement.
    item_type, brand, adjective, first_half, second_half: [I]; the last four are codes.
    type_name [T], type_typos [T, 2], type_broad [T]: codes.
    """

    words: pl.Series
    items: pl.DataFrame
    departments: list[Department]
    city_lean: Floats
    type_department: Ints
    department_first: Ints
    complements: Ints
    partner: Ints
    item_type: Ints
    brand: Ints
    adjective: Ints
    first_half: Ints
    second_half: Ints
    type_name: Ints
    type_typos: Ints
    type_broad: Ints
    type_cumulative: Floats
    list_items: Ints
    list_first: Ints
    list_cumulative: Floats

    def draw_type(self, department: Ints, chance: Floats) -> Ints:
        """Return a type of each department by popularity.

        Args:
            department: [...] departments.
            chance: [...] uniform in [0, 1).
        """
        return _draw(
            self.type_cumulative, self.department_first[department], self.department_first[department + 1], chance
        )

    def draw_item(self, kind: Ints, taste: Ints, chance: Floats) -> Ints:
        """Return an item of each type by popularity, of a taste where the type has such items.

        Args:
            kind: [...] types.
            taste: [...] tastes; -1 means any.
            chance: [...] uniform in [0, 1).
        """
        types = len(self.type_department)
        whole = types * TIERS * 2 + kind
        narrow = np.where(taste >= 0, kind * TIERS * 2 + taste, whole)
        key = np.where(self.list_first[narrow + 1] > self.list_first[narrow], narrow, whole)
        return self.list_items[_draw(self.list_cumulative, self.list_first[key], self.list_first[key + 1], chance)]

    def any_item(self, kind: Ints, chance: Floats) -> Ints:
        """Return an item of each type, all equally likely.

        Args:
            kind: [...] types.
            chance: [...] uniform in [0, 1).
        """
        key = len(self.type_department) * TIERS * 2 + kind
        first, end = self.list_first[key], self.list_first[key + 1]
        return self.list_items[np.minimum(first + (chance * (end - first)).astype(np.int64), end - 1)]


def _draw(cumulative: Floats, first: Ints, end: Ints, chance: Floats) -> Ints:
    """A position in [first, end) for each chance, by the weights whose running sum is `cumulative` (a leading 0)."""
    low = cumulative[first]
    place = np.searchsorted(cumulative, low + chance * (cumulative[end] - low), side="right") - 1
    return np.clip(place, first, end - 1)


def _running(weights: Floats) -> Floats:
    return np.concatenate(([0.0], np.cumsum(weights)))


def build_shop(world: World, rng: np.random.Generator) -> Shop:
    """Build the tree cut to the world's branching, and its items.

    Args:
        world: the settings.
        rng: all draws come from it.

    Raises:
        SettingsError: fewer items than product types.
    """
    departments, families = read_tree(SHOP, world.departments, world.families, world.types)
    names = [name for family in families for name in family.types]
    types = len(names)
    if world.items < types:
        raise SettingsError(
            "too few items for the category tree",
            where="setting 'items'",
            got=world.items,
            expected=f"at least {types}, one for each product type",
            remedy="raise items, or lower departments, families or types",
        )
    type_family = np.repeat(np.arange(len(families)), [len(f.types) for f in families])
    type_department = np.array([f.department for f in families])[type_family]
    department_first = np.searchsorted(type_department, np.arange(len(departments) + 1))
    rank = np.concatenate([rng.permutation(n) for n in np.diff(department_first)])
    popularity = (rank + 1.0) ** (-world.skew / 2)

    more = rng.choice(types, size=world.items - types, p=popularity / popularity.sum())
    item_type = rng.permutation(np.concatenate([np.arange(types), more]))
    item_family = type_family[item_type]

    words = Vocabulary()
    brand_table = np.stack([words.codes(d.brands) for d in departments])
    brand_place = np.minimum(rng.integers(0, 9, world.items), rng.integers(0, 9, world.items))
    tier = brand_place % TIERS
    adjective_first, adjective_codes = _flat([words.codes(f.adjectives) for f in families])
    adjectives = np.diff(adjective_first)[item_family]
    adjective_place = (rng.random(world.items) * adjectives).astype(np.int64)
    second_place = (adjective_place + 1 + (rng.random(world.items) * (adjectives - 1)).astype(np.int64)) % adjectives
    adjective = adjective_codes[adjective_first[item_family] + adjective_place]
    second = np.where(
        rng.random(world.items) < _TWO_ADJECTIVES, adjective_codes[adjective_first[item_family] + second_place], 0
    )
    first_half, second_half = (_halves(rng, words, families, item_family, half) for half in (0, 1))

    type_name = words.codes(names)
    brand = brand_table[type_department[item_type], brand_place]
    type_price = np.array([f.price for f in families])[type_family] * rng.lognormal(0, 0.4, types)
    price = (
        np.maximum(np.round(type_price[item_type] * _TIER_PRICE[tier] * rng.lognormal(0, 0.2, world.items)), 1) - 0.01
    )

    by_type = np.argsort(item_type, kind="stable")
    type_first = np.searchsorted(item_type[by_type], np.arange(types + 1))
    place = np.empty(world.items, dtype=np.int64)
    place[by_type] = np.arange(world.items) - type_first[item_type[by_type]]
    audience = np.zeros(len(words.texts), dtype=np.int64)
    audience[words.codes(list(AUDIENCE))] = list(AUDIENCE.values())
    list_items, list_first = _lists(item_type, tier, audience[first_half], by_type, types)

    complements = _complements(names, type_family, type_department)
    after = complements[item_type, 0]
    partner = by_type[type_first[after] + place % np.diff(type_first)[after]]
    type_typos = np.stack([words.codes([_misspelt(rng, name) for name in names]) for _ in range(2)], axis=1)
    broad = words.codes([f.broad for f in families])[type_family]

    title = [brand, adjective, second, type_name[item_type], first_half, second_half]
    return Shop(
        words=words.texts,
        items=_item_table(
            rng,
            words.texts,
            departments,
            families,
            item_type=item_type,
            item_family=item_family,
            title=title,
            price=price,
        ),
        departments=departments,
        city_lean=rng.normal(0, _CITY_SPREAD, (len(CITIES), len(departments))),
        type_department=type_department,
        department_first=department_first,
        complements=complements,
        partner=partner,
        item_type=item_type,
        brand=brand,
        adjective=adjective,
        first_half=first_half,
        second_half=second_half,
        type_name=type_name,
        type_typos=type_typos,
        type_broad=broad,
        type_cumulative=_running(popularity),
        list_items=list_items,
        list_first=list_first,
        list_cumulative=_running((place[list_items] + 1.0) ** -world.skew),
    )


def _flat(rows: list[NDArray[np.int32]]) -> tuple[Ints, Ints]:
    """Offsets and values of rows of different lengths."""
    return np.concatenate(([0], np.cumsum([len(row) for row in rows]))), np.concatenate(rows)


def _halves(rng: np.random.Generator, words: Vocabulary, families: list[Family], item_family: Ints, half: int) -> Ints:
    """[I] codes of the first or second half of each item's variant."""
    first, codes = _flat([words.codes(VARIANTS[f.variant][half].split()) for f in families])
    start, end = first[item_family], first[item_family + 1]
    return codes[start + (rng.random(len(item_family)) * (end - start)).astype(np.int64)]


def _lists(item_type: Ints, tier: Ints, audience: Ints, by_type: Ints, types: int) -> tuple[Ints, Ints]:
    """Items by (type, taste), then by type, as one ragged list; taste is tier x 2 + (0 women, 1 men).

    An item for all is in the lists of both audiences.
    """
    parts, keys = [], []
    for who in (0, 1):
        fits = by_type[(audience[by_type] == 0) | (audience[by_type] == who + 1)]
        parts.append(fits)
        keys.append((item_type[fits] * TIERS + tier[fits]) * 2 + who)
    parts.append(by_type)
    keys.append(types * TIERS * 2 + item_type[by_type])
    key = np.concatenate(keys)
    order = np.argsort(key, kind="stable")
    return np.concatenate(parts)[order], np.searchsorted(key[order], np.arange(types * TIERS * 2 + types + 1))


def _complements(names: list[str], type_family: Ints, type_department: Ints) -> Ints:
    """[T, 2] the types often bought after a type; by default the next ones of its family, or of its department."""
    index = {name: place for place, name in enumerate(names)}
    written = dict(line.split(" > ") for line in COMPLEMENTS.strip().splitlines())
    rows = []
    for place, name in enumerate(names):
        near = np.flatnonzero(type_family == type_family[place])
        if len(near) == 1:
            near = np.flatnonzero(type_department == type_department[place])
        here = int(np.searchsorted(near, place))
        chosen = [index[other] for other in written.get(name, "").split(", ") if other in index]
        chosen += [int(near[(here + step) % len(near)]) for step in (1, 2)]
        rows.append(chosen[:2])
    return np.array(rows)


def _misspelt(rng: np.random.Generator, name: str) -> str:
    """The name with one letter dropped or two neighbours swapped, inside its longest word."""
    word = max(name.split(), key=len)
    at = int(rng.integers(1, len(word) - 1))
    wrong = word[:at] + word[at + 1 :] if rng.random() < 0.5 else word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return name.replace(word, wrong)


def join_words(texts: pl.Series, codes: list[Ints]) -> pl.Series:
    """Return each row's words with a space between; code 0 is left out.

    Args:
        texts: word of each code.
        codes: [n, W] codes.
    """
    columns = [texts.gather(code).alias(str(place)) for place, code in enumerate(codes)]
    return pl.DataFrame(columns).select(pl.concat_str(pl.all(), separator=" ", ignore_nulls=True)).to_series()


def _item_table(
    rng: np.random.Generator,
    texts: pl.Series,
    departments: list[Department],
    families: list[Family],
    *,
    item_type: Ints,
    item_family: Ints,
    title: list[Ints],
    price: Floats,
) -> pl.DataFrame:
    """items.parquet: item_id, title, description, brand, categories, price."""
    names = [name for family in families for name in family.types]
    by_type = pl.Series(
        [[departments[f.department].name, f.name, name.capitalize()] for f in families for name in f.types]
    )
    sentence = pl.Series(ARTICLES).gather(rng.integers(0, len(ARTICLES), len(item_type)))
    columns = pl.DataFrame(
        {
            "item_id": pl.Series(np.arange(1, len(item_type) + 1)),
            "title": join_words(texts, title),
            "brand": texts.gather(title[0]),
            "adjective": texts.gather(title[1]),
            "name": pl.Series(names).gather(item_type),
            "use": pl.Series([f.use for f in families]).gather(item_family),
            "sentence": sentence,
            "categories": by_type.gather(item_type),
            "price": price,
        }
    )
    praise = pl.col("sentence")
    for hole in ("adjective", "use"):
        praise = praise.str.replace(f"{{{hole}}}", pl.col(hole), literal=True)
    return columns.select(
        pl.format("i{}", "item_id").alias("item_id"),
        "title",
        pl.format("{} from {}. {}", pl.col("name").str.to_titlecase(), "brand", praise).alias("description"),
        "brand",
        "categories",
        pl.col("price").round(2),
    )
