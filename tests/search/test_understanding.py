"""Understanding: corrections, compounds, prefixes, joined words and rules, and what they cost in ranking."""

from pathlib import Path

import pytest

import searec
from searec.data.dataset import Dataset, load
from searec.search.lexical_index import LexicalIndex
from searec.search.query import SearchQuery
from searec.search.rules import SearchRules
from searec.search.understanding import Understanding
from searec.search.vocabulary import Vocabulary
from small_catalogue import catalogue

SHOP = [
    *["Northland running shoes"] * 8,
    *["Northland trail shoes"] * 8,
    "Lakeside shower curtain",
    "Lakeside curtain of the shore",
    "Laptop sleeve",
    "Sleeve for a lap top",
    "Café table",
    "Cafe chair",
    "Sofa Milano",
    "Couch Roma",
    "Shaver",
    "Soup",
    *["Tarpaulin"] * 5,
    "Tar",
    "Paulin",
]


class Search:
    """A dataset with its index and what reads the queries."""

    def __init__(self, data: Dataset, rules: SearchRules | None = None) -> None:
        self.data, self.index = data, LexicalIndex.of(data)
        self.understanding = Understanding(data, rules)

    def parse(self, text: str, **options: bool) -> SearchQuery:
        return self.understanding.parse(self.index, text, **options)

    def titles(self, text: str, k: int = 3, **options: bool) -> list[str]:
        items, _ = self.index.best(self.parse(text, **options), k)
        return [str(self.data.item_table["title"][item - 1]) for item in items.tolist()]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Search:
    return Search(catalogue(tmp_path_factory.mktemp("understanding") / "shop", SHOP))


@pytest.fixture(scope="module")
def sample() -> Search:
    return Search(load(searec.sample_folder()))


# --- spelling ---


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("runing shoes", "running shoes"),
        ("Shoess, Nortland!", "shoes, northland!"),
        ("norhtland", "northland"),  # neighbours swapped
        ("northlnds", "northland"),  # two edits from eight letters
        ("shwoer curtain", "shower curtain"),
        ("runningshoes", "running shoes"),  # no space
        ("nort land shoes", "nort land shoes"),  # "land" is no slip of one word, and joined it is two edits away
        ("lap topp", "lap top"),
        ("tar paulin", "tarpaulin"),  # no item has both
        ("northland SHOES", "northland SHOES"),
        ("soap", "soap"),  # a letter in four: not "sofa" with two edits, and no slip of "soup"
        ("soop", "soop"),
    ],
)
def test_a_word_that_no_item_has_is_corrected(shop: Search, typed: str, text: str) -> None:
    query = shop.parse(typed)
    assert (query.text, query.typed) == (text, typed)
    assert query.is_corrected == (text != typed)
    as_typed = shop.parse(typed, spelling=False)
    assert (as_typed.text, as_typed.suggestion) == (typed, None)


@pytest.mark.parametrize("typed", ["sho", "tunning", "shoes4", "qqqq", "xqzvw jkwpt", "wf1000xm5"])
def test_short_words_first_letters_and_digits_are_left_as_they_are(shop: Search, typed: str) -> None:
    assert (shop.parse(typed).text, shop.parse(typed).suggestion) == (typed, None)


def test_the_other_words_of_the_query_decide_between_neighbours(shop: Search) -> None:
    """One edit from "shover": shower, of a curtain, and shaver."""
    assert shop.parse("shover curtain").text == "shower curtain"
    alone = shop.parse("shover")
    assert alone.text == "shover"
    assert alone.suggestion in ("shower", "shaver")
    alternatives = alone.words[0].alternatives
    assert {one.terms[0] for one in alternatives} == {"shower", "shaver"}
    assert all(one.weight < 1 and one.source == "spelling" for one in alternatives)
    assert set(shop.titles("shover")) == {"Lakeside shower curtain", "Shaver"}


def test_a_rare_word_with_a_frequent_neighbour_is_searched_and_the_neighbour_is_offered(tmp_path: Path) -> None:
    search = Search(catalogue(tmp_path / "rare", ["Resturant"] + ["Restaurant"] * 60 + ["Garden restaurant"] * 3))
    query = search.parse("resturant")
    assert (query.text, query.suggestion) == ("resturant", "restaurant")
    assert search.titles("resturant") == ["Resturant"]
    assert search.parse("garden resturant").suggestion == "garden restaurant"
    assert search.parse("restaurant").suggestion is None


def test_what_several_users_search_is_a_word_even_if_no_item_has_it(tmp_path: Path) -> None:
    items = ["Northland shoes"] * 10
    one = [("u1", "shoex", [1]), ("u1", "shoex northland", [1])]
    alone = Search(catalogue(tmp_path / "one", items, one)).parse("shoex")
    assert alone.text == "shoes"
    several = Search(catalogue(tmp_path / "two", items, [*one, ("u2", "shoex", [2])])).parse("shoex")
    assert (several.text, several.suggestion) == ("shoex", "shoes")


def test_a_correction_is_written_as_people_write_it(tmp_path: Path) -> None:
    search = Search(catalogue(tmp_path / "accents", ["Crème brûlée", "Batteries", "Batteries AA"]))
    assert search.parse("brulle").text == "brûlée"
    assert search.parse("bateries").text == "batteries"


def test_new_items_bring_their_words(shop: Search) -> None:
    index = shop.index.with_items({len(SHOP) + 1: {"title": "Zweifalten tent"}})
    assert shop.parse("zweifaltn").text == "zweifaltn"
    query = shop.understanding.parse(index, "zweifaltn")
    assert query.text == "zweifalten"
    assert index.best(query, 3)[0].tolist() == [len(SHOP) + 1]
    typing = shop.understanding.parse(index, "zweif", prefix=True)
    assert index.best(typing, 3)[0].tolist() == [len(SHOP) + 1]


def test_words_are_found_within_their_edits_only(sample: Search) -> None:
    """Against all words of the vocabulary, compared one by one."""
    from rapidfuzz.distance import OSA

    vocabulary = Vocabulary.of(sample.data)
    for word, most in (("treadmil", 2), ("shoer", 1), ("speeker", 1), ("blak", 1)):
        expected = {one for one in vocabulary.counts if one[0] == word[0] and OSA.distance(word, one) <= most}
        assert {one.word for one in vocabulary.neighbours(word, most)} == expected
        assert expected


# --- joined words, prefixes, compounds ---


def test_two_words_find_the_one_and_the_reverse(shop: Search) -> None:
    both = {"Laptop sleeve", "Sleeve for a lap top"}
    assert set(shop.titles("laptop")) == set(shop.titles("lap top")) == both
    assert shop.titles("laptop")[0] == "Laptop sleeve"
    assert shop.titles("lap top")[0] == "Sleeve for a lap top"
    assert shop.titles("laptop", spelling=False)[0] == "Laptop sleeve"


def test_while_typing_the_last_word_stands_for_longer_ones(shop: Search) -> None:
    assert shop.titles("lakeside sho", 2, prefix=True)[0].startswith("Lakeside")
    assert {one.terms[0] for one in shop.parse("sho", prefix=True).words[0].alternatives} == {"shoe", "shower", "shore"}
    assert all(one.weight < 1 for one in shop.parse("sho", prefix=True).words[0].alternatives)
    assert shop.parse("sho ", prefix=True).words[0].alternatives == ()  # a space ends the word
    assert shop.parse("sho").words[0].alternatives == ()
    assert shop.parse("nortland sho", prefix=True).text == "northland sho"  # words before it are corrected


GERMAN = [
    "Winterjacke rot",
    "Lederjacken",
    "Jacke",
    "Jacke für den Winter",
    "Handtasche",
    "Tasche",
    "Hand",
    "Krankenhäuser",
    "Haus am See",
    "Kranke",
    "Sommer Hose",
]


def test_german_compounds(tmp_path: Path) -> None:
    search = Search(catalogue(tmp_path / "de", GERMAN, language="de"))
    assert search.titles("jacke", 5)[0] == "Jacke"
    assert set(search.titles("jacken", 5)) == {"Jacke", "Jacke für den Winter", "Winterjacke rot", "Lederjacken"} - {
        "Lederjacken"  # no item has "Leder", so that it is one word
    }
    assert search.titles("winterjacken", 2) == ["Winterjacke rot", "Jacke für den Winter"]
    assert set(search.titles("tasche")) == {"Tasche", "Handtasche"}
    assert "Krankenhäuser" in search.titles("haus")
    assert search.titles("sommerjacke", 1) == ["Jacke"]  # an unknown compound: its head
    assert search.parse("sommerjacke").text == "sommerjacke"


@pytest.mark.parametrize(
    ("language", "titles", "query", "expected"),
    [
        ("nl", ["Winterjas", "Jas", "Winter"], "jas", {"Jas", "Winterjas"}),
        ("sv", ["Vinterjacka", "Jacka", "Vinter"], "jacka", {"Jacka", "Vinterjacka"}),
        ("da", ["Vinterjakke", "Jakke", "Vinter"], "jakke", {"Jakke", "Vinterjakke"}),
        ("no", ["Vinterjakke", "Jakke", "Vinter"], "jakker", {"Jakke", "Vinterjakke"}),
        ("fi", ["Talvitakki", "Takki", "Talvi"], "takki", {"Takki", "Talvitakki"}),
        ("en", ["Season ticket", "Son", "Sea"], "son", {"Son"}),
    ],
)
def test_compounds_by_language(
    tmp_path: Path, language: str, titles: list[str], query: str, expected: set[str]
) -> None:
    search = Search(catalogue(tmp_path / language, titles, language=language))
    assert set(search.titles(query)) == expected
    assert search.titles(query)[0] == min(expected, key=len)


SMALL = ["Regenjacke", "Lederjacke Herren", "Kaffeemaschine", "Kaffeebohnen", "Gartenstuhl", "Weißwein", "Schwarzbrot"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("jacken", {"Regenjacke", "Lederjacke Herren"}),
        ("stühle", {"Gartenstuhl"}),
        ("wein", {"Weißwein"}),
        ("maschine", {"Kaffeemaschine"}),
        ("kaffee", {"Kaffeemaschine", "Kaffeebohnen"}),
        ("kaffee maschine", {"Kaffeemaschine"}),
        ("rot", set()),  # too short: black bread is not red
        ("affee", set()),  # the letter before it is no word
    ],
)
def test_words_that_stand_in_compounds_alone_find_these(tmp_path: Path, query: str, expected: set[str]) -> None:
    search = Search(catalogue(tmp_path / "de", SMALL, language="de"))
    found, step = search.index.matching(search.parse(query))
    assert {str(search.data.item_table["title"][item - 1]) for item in found.tolist()} == expected
    assert step == (None if expected else "no word")
    other = Search(catalogue(tmp_path / "en", SMALL, language="en"))
    assert other.titles("maschine") == []


def test_compounds_of_new_items_are_found_by_their_ends(tmp_path: Path) -> None:
    search = Search(catalogue(tmp_path / "de", SMALL, language="de"))
    index = search.index.with_items({8: {"title": "Schreibtischlampe"}})
    assert index.best(search.understanding.parse(index, "lampe"), 3)[0].tolist() == [8]


HYPHENS = ["Red T-Shirt", "Blue tshirt", "Wi-Fi router", {"title": "Dune", "categories": ["Sci-Fi"]}, "Shirt", "Ruler"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tshirts", {"Red T-Shirt", "Blue tshirt"}),
        ("t-shirt", {"Red T-Shirt", "Blue tshirt"}),
        ("wifi", {"Wi-Fi router"}),
        ("scifi", {"Dune"}),
        ("shirt", {"Red T-Shirt", "Shirt"}),
    ],
)
def test_words_with_and_without_a_hyphen_are_one(tmp_path: Path, query: str, expected: set[str]) -> None:
    search = Search(catalogue(tmp_path / "hyphens", HYPHENS))
    assert set(search.titles(query, len(expected))) == expected
    assert search.parse(query).text == query
    assert len(search.index.matching(search.parse(query))[0]) == len(expected)


# --- synonyms ---


def test_synonyms_of_equal_rank_and_one_way(tmp_path: Path) -> None:
    data = catalogue(tmp_path / "rules", [*SHOP, "Trainers Nova"])
    rules = SearchRules(
        [["sofa", "couch"], ["running shoes", "trainers"]], {"tables": ["chair"]}, {"Gift  Cards": "/g"}
    )
    search = Search(data, rules)
    assert set(search.titles("sofas")) == {"Sofa Milano", "Couch Roma"}
    assert search.titles("couch")[0] == "Couch Roma"
    assert "Trainers Nova" in search.titles("running shoes", 20)
    assert set(search.titles("trainers", 20)) == {"Trainers Nova", "Northland running shoes"}
    assert set(search.titles("table")) == {"Café table", "Cafe chair"}
    assert search.titles("chair") == ["Cafe chair"]
    assert search.parse("gift card").redirect == "/g"
    assert search.parse("red gift card").redirect is None
    every, relaxed = search.index.matching(search.parse("trainers nova"))
    assert (len(every), relaxed) == (1, None)


def test_chains_and_circles_of_synonyms_do_no_harm(tmp_path: Path) -> None:
    data = catalogue(tmp_path / "circle", ["Alpha", "Beta", "Gamma"])
    search = Search(data, SearchRules([["alpha", "beta"], ["beta", "gamma"]], {"gamma": ["gamma"], "alpha": ["gamma"]}))
    assert set(search.titles("alpha")) == {"Alpha", "Beta", "Gamma"}
    assert set(search.titles("gamma")) == {"Beta", "Gamma"}


def test_nothing_is_read_twice_for_one_state_of_the_catalogue(shop: Search) -> None:
    first = shop.parse("runing shoes")
    assert shop.parse("runing shoes") is first
    other = shop.understanding.parse(shop.index.with_items({40: {"title": "x"}}), "runing shoes")
    assert other == first
    assert other is not first
