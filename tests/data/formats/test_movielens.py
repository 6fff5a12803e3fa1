"""MovieLens in the shapes it is published in, and what becomes of it."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts import became, raw_of
from imported import table, utc
from searec.data.check import check
from searec.data.formats.base import ImportOptions
from searec.data.formats.movielens import SEARCH_SHARE, read_movielens
from searec.data.importing import import_folder
from searec.data.log import load_log
from searec.errors import DataError, SettingsError

FLAGS = (
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
        "Fantasy",
    ),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)


def item_line(number: int, title: str, date: str, *genres: str) -> str:
    url = f"http://us.imdb.com/M/title-exact?{title.replace(' ', '%20')}"
    return "|".join([str(number), title, date, "", url, *("1" if flag in genres else "0" for flag in FLAGS)]) + "\n"


def ml_100k(src: Path) -> Path:
    """The three files of 100k: tabs, pipes, Latin-1, film 267 whose title and genre are 'unknown'."""
    src.mkdir()
    films = item_line(1, "Toy Story (1995)", "01-Jan-1995", "Animation", "Children's", "Comedy")
    films += item_line(
        2, "Cité des enfants perdus, La (City of Lost Children) (1995)", "01-Jan-1995", "Adventure", "Sci-Fi"
    )
    films += "267|unknown||||1" + "|0" * 18 + "\n"
    (src / "u.item").write_bytes(films.encode("latin-1"))
    (src / "u.user").write_text("1|24|M|technician|85711\n2|53|F|other|94043\n")
    ratings = [
        (user, film, 874724710 + 60 * place)
        for place, (user, film) in enumerate([(u, f) for f in (1, 2, 267) for u in (1, 2)] * 20)
    ]
    (src / "u.data").write_text("".join(f"{user}\t{film}\t3\t{time}\n" for user, film, time in ratings))
    return src


def ml_1m(src: Path) -> Path:
    src.mkdir()
    (src / "movies.dat").write_bytes(
        "1::Toy Story (1995)::Animation|Children's|Comedy\n73::Misérables, Les (1995)::Drama|Musical\n".encode(
            "latin-1"
        )
    )
    (src / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    (src / "ratings.dat").write_text("1::1::5::978300760\n1::73::3::978302109\n2::73::4::978298413\n")
    return src


def ml_10m(src: Path) -> Path:
    src.mkdir()
    (src / "movies.dat").write_text(
        "1::Toy Story (1995)::Animation|Comedy\n8606::Pull My Daisy (1958)::(no genres listed)\n"
    )
    (src / "ratings.dat").write_text("1::1::5::838985046\n1::8606::3.5::838983525\n")
    (src / "tags.dat").write_text("15::1::excellent!::1215184630\n15::8606::star wars :: episode::1188263867\n")
    return src


MOVIES = (
    "movieId,title,genres\n"
    "1,Toy Story (1995),Adventure|Animation|Children|Comedy|Fantasy\n"
    '11,"American President, The (1995)",Comedy|Drama|Romance\n'
    '7789,"""11\'09""01 - September 11 (2002)",Drama\n'
    "114335,La cravate (1957),(no genres listed)\n"
)
LINKS = "movieId,imdbId,tmdbId\n1,0114709,862\n11,0112346,9087\n7789,0328802,\n"
RATINGS = (
    "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,11,0.5,964981247\n7,999999,5.0,1147880044\n"
    "1,7789,3.0,964982224\n"
)
TAGS = (
    "userId,movieId,tag,timestamp\n"
    "2,1,pixar,1445714994\n"
    "2,1,pixar,1445714994\n"
    '2,7789,"Al ""Scarface"" Pacino, gangster",1445714996\n'
    "7,11,  ,1445715207\n"
    "7,11,,1445715208\n"
    "1,1,pixar ,1445714994\n"
)


def ml_latest(src: Path, **files: str | bytes | None) -> Path:
    src.mkdir()
    for name, text in {"movies": MOVIES, "links": LINKS, "ratings": RATINGS, "tags": TAGS, **files}.items():
        if text is not None:
            (src / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return src


def test_latest(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = import_folder("movielens", ml_latest(tmp_path / "src"), out)
    assert report.rejects.is_empty()
    assert report.written == {"items": 5, "users": 3, "interactions": 4, "searches": 3}
    assert report.notes == ("1 film is rated or tagged and not in movies.csv: titled 'film' and the film's number",)
    assert became(raw_of("movielens", tmp_path / "src")) == {
        "left out as tags without text": 2,
        "merged into the tag that they repeat": 1,
        "merged into their film": 3,
    }
    items = table(out, "items")
    assert items.columns == ["item_id", "title", "categories", "imdb_id", "tmdb_id"]
    assert items.rows() == [
        ("1", "Toy Story (1995)", ["Adventure", "Animation", "Children", "Comedy", "Fantasy"], "0114709", "862"),
        ("11", "American President, The (1995)", ["Comedy", "Drama", "Romance"], "0112346", "9087"),
        ("7789", '"11\'09"01 - September 11 (2002)', ["Drama"], "0328802", None),
        ("114335", "La cravate (1957)", [], None, None),
        ("999999", "film 999999", None, None, None),
    ]
    assert table(out, "users")["user_id"].to_list() == ["1", "7", "2"]
    assert table(out, "interactions").rows() == [
        ("1", "1", utc(2000, 7, 30, 18, 45, 3), "rating"),
        ("1", "11", utc(2000, 7, 30, 18, 20, 47), "rating"),
        ("7", "999999", utc(2006, 5, 17, 15, 34, 4), "rating"),
        ("1", "7789", utc(2000, 7, 30, 18, 37, 4), "rating"),
    ]
    assert table(out, "searches").rows() == [
        ("tag-1", "2", "pixar", utc(2015, 10, 24, 19, 29, 54), ["1"]),
        ("tag-3", "2", 'Al "Scarface" Pacino, gangster', utc(2015, 10, 24, 19, 29, 56), ["7789"]),
        ("tag-6", "1", "pixar", utc(2015, 10, 24, 19, 29, 54), ["1"]),
    ]
    assert check(load_log(out)) is not None


def test_100k(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = import_folder("movielens", ml_100k(tmp_path / "src"), out)
    assert report.rejects.is_empty()
    items = table(out, "items")
    assert items.drop("imdb_url").rows() == [
        ("1", "Toy Story (1995)", ["Animation", "Children's", "Comedy"], "01-Jan-1995"),
        ("2", "Cité des enfants perdus, La (City of Lost Children) (1995)", ["Adventure", "Sci-Fi"], "01-Jan-1995"),
        ("267", "unknown", [], ""),
    ]
    assert items["imdb_url"][0] == "http://us.imdb.com/M/title-exact?Toy%20Story%20(1995)"
    assert table(out, "users").rows() == [("1", "24", "M", "technician", "85711"), ("2", "53", "F", "other", "94043")]
    assert load_log(out).interactions.height == report.written["interactions"]


def test_a_simulated_search_stands_for_its_rating(tmp_path: Path) -> None:
    """120 ratings: every one is either an interaction or the click of one search, at its own time."""
    src, out = ml_100k(tmp_path / "src"), tmp_path / "out"
    report = import_folder("movielens", src, out)
    assert "no tags" in report.notes[0]
    feed, searches = table(out, "interactions"), table(out, "searches")
    assert feed.height + searches.height == 120
    assert 10 <= searches.height <= 40  # a fifth of 120, by chance
    led = searches.select("user_id", pl.col("clicked").list.first().alias("item_id"), "timestamp")
    assert searches["clicked"].list.len().unique().to_list() == [1]
    both = pl.concat([feed.drop("event"), led]).sort("timestamp")
    lines = [line.split("\t") for line in (src / "u.data").read_text().splitlines()]
    assert both.rows() == [(user, film, datetime.fromtimestamp(int(time), UTC)) for user, film, _, time in lines]
    words = {
        "1": {"toy story", "animation childrens comedy"},
        "2": {"cité des enfants perdus la", "adventure sci fi"},
        "267": {"unknown"},
    }
    for clicked, query in searches.select("clicked", "query").iter_rows():
        assert query in words[clicked[0]]
    assert set(searches["query"]) == set().union(*words.values())
    row = int(searches["search_id"][0].removeprefix("rating-"))
    assert (lines[row - 1][0], lines[row - 1][1]) == (searches["user_id"][0], searches["clicked"][0][0])


def test_the_same_file_gives_the_same_searches(tmp_path: Path) -> None:
    src = ml_100k(tmp_path / "src")
    for name in ("one", "two"):
        import_folder("movielens", src, tmp_path / name)
    assert table(tmp_path / "one", "searches").equals(table(tmp_path / "two", "searches"))
    assert table(tmp_path / "one", "interactions").equals(table(tmp_path / "two", "interactions"))


def test_titles_without_words_are_searched_by_genre(tmp_path: Path) -> None:
    src = tmp_path / "src"
    movies = "movieId,title,genres\n1,$ (1971),Comedy|Crime\n2,It (1990),Drama\n3,### (1990),(no genres listed)\n"
    ml_latest(src, tags=None, links=None, movies=movies)
    rows = "".join(f"{user},{film},4.0,{964982703 + user}\n" for user in range(1, 101) for film in (1, 2, 3))
    (src / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + rows)
    report = import_folder("movielens", src, tmp_path / "out")
    searches = table(tmp_path / "out", "searches")
    asked = dict(searches.group_by(pl.col("clicked").list.first()).agg(pl.col("query").unique().sort()).iter_rows())
    assert asked == {"1": ["comedy crime"], "2": ["drama", "it"]}
    assert report.written["interactions"] + searches.height == 300
    assert (table(tmp_path / "out", "interactions")["item_id"] == "3").sum() == 100


def test_1m(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = import_folder("movielens", ml_1m(tmp_path / "src"), out)
    assert table(out, "items").rows() == [
        ("1", "Toy Story (1995)", ["Animation", "Children's", "Comedy"]),
        ("73", "Misérables, Les (1995)", ["Drama", "Musical"]),
    ]
    assert table(out, "users").rows() == [
        ("1", "F", "under 18", "K-12 student", "48067"),
        ("2", "M", "56+", "self-employed", "70072"),
    ]
    assert table(out, "users").columns == ["user_id", "gender", "age_group", "occupation", "zip_code"]
    assert report.written["interactions"] + report.written["searches"] == 3


def test_10m(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = import_folder("movielens", ml_10m(tmp_path / "src"), out)
    assert report.notes == ()
    assert table(out, "items")["categories"].to_list() == [["Animation", "Comedy"], []]
    assert table(out, "searches").rows() == [
        ("tag-1", "15", "excellent!", utc(2008, 7, 4, 15, 17, 10), ["1"]),
        ("tag-2", "15", "star wars :: episode", utc(2007, 8, 28, 1, 17, 47), ["8606"]),
    ]
    assert table(out, "users")["user_id"].to_list() == ["1", "15"]


def test_users_and_films_that_no_file_lists(tmp_path: Path) -> None:
    src = ml_1m(tmp_path / "src")
    with (src / "ratings.dat").open("a") as file:
        file.write("3::1::4::978300761\n3::74::4::978300762\n")
    report = import_folder("movielens", src, tmp_path / "out")
    assert report.notes[:2] == (
        "1 film is rated or tagged and not in movies.dat: titled 'film' and the film's number",
        "1 user is in no line of users.dat: no attributes are known",
    )
    assert table(tmp_path / "out", "users").row(2) == ("3", None, None, None, None)
    assert table(tmp_path / "out", "items")["title"].to_list()[2] == "film 74"


def test_ratings_that_stand_twice_are_kept_once(tmp_path: Path) -> None:
    src = ml_latest(tmp_path / "src", ratings=RATINGS + "1,11,4.5,964981247\n")
    report = import_folder("movielens", src, tmp_path / "out")
    assert report.notes[-1] == "1 row of interactions occurs in the source more than once: written once"
    assert report.written["interactions"] == 4
    assert report.rejects.is_empty()
    assert not (tmp_path / "out" / "rejects.parquet").exists()
    assert table(tmp_path / "out", "interactions").height == 4


def test_broken_lines_are_rejects_where_they_stand(tmp_path: Path) -> None:
    src = ml_1m(tmp_path / "src")
    lines = [
        "1::1::5::978300760",
        "1::73",
        "2::1::3::soon",
        "2::1::3::-5",
        "::1::3::978300760",
        "",
        "2::73::4::978298413",
        "2::1::3::12",
    ]
    (src / "ratings.dat").write_text("\n".join(lines) + "\n")
    report = import_folder("movielens", src, tmp_path / "out", drop_bad=True)
    assert sorted((r["file"], r["row"], r["rule"]) for r in report.rejects.to_dicts()) == [
        ("ratings.dat", 2, "no valid time"),
        ("ratings.dat", 3, "no valid time"),
        ("ratings.dat", 4, "no valid time"),
        ("ratings.dat", 5, "unknown user"),
    ]
    times = [time for name in ("interactions", "searches") for time in table(tmp_path / "out", name)["timestamp"]]
    assert sorted(times)[0] == utc(1970, 1, 1, 0, 0, 12)  # seconds, whatever their size
    assert report.rejects.filter(pl.col("row") == 3)["value"].to_list() == ["soon"]
    with pytest.raises(DataError, match=r"ratings\.dat row 2: no valid time"):
        import_folder("movielens", src, tmp_path / "other")


def test_broken_tags_are_rejects(tmp_path: Path) -> None:
    src = ml_latest(
        tmp_path / "src",
        tags="userId,movieId,tag,timestamp\n2,1,pixar,1445714994\n2,,lost,1445714995\n2,1,late,never\n",
    )
    report = import_folder("movielens", src, tmp_path / "out", drop_bad=True)
    assert [(r["file"], r["row"], r["rule"]) for r in report.rejects.to_dicts()] == [
        ("tags.csv", 2, "unknown clicked item"),
        ("tags.csv", 3, "no valid time"),
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ratings": "userId,movieId,score\n1,1,2\n"}, "missing column 'timestamp'.*ratings.csv"),
        ({"movies": None}, "missing file; where: .*movies.csv"),
        ({"movies": b"movieId,title,genres\n1,Caf\xe9 (1990),Drama\n"}, "not UTF-8; where: .*movies.csv line 2"),
        ({"tags": b"userId,movieId,tag,timestamp\n1,1,caf\xe9,1445714994\n"}, "not UTF-8; where: .*tags.csv line 2"),
        ({"tags": 'userId,movieId,tag,timestamp\n1,1,"open,1445714994\n'}, "tags.csv"),
        ({"ratings": ""}, "ratings.csv"),
    ],
)
def test_one_clear_error(tmp_path: Path, files: dict[str, str | bytes | None], message: str) -> None:
    src = ml_latest(tmp_path / "src", **files)
    with pytest.raises(DataError, match=message) as caught:
        import_folder("movielens", src, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_wrong_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for src in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(DataError, match=r"no MovieLens set.*u\.data.*grouplens"):
            import_folder("movielens", src, tmp_path / "out")
    both = ml_1m(tmp_path / "both")
    (both / "ratings.csv").write_text(RATINGS)
    with pytest.raises(DataError, match="two MovieLens sets"):
        import_folder("movielens", both, tmp_path / "out")
    with pytest.raises(SettingsError, match=r"no use for the mapping 'items\.title'"):
        read_movielens(both, ImportOptions(mapping={"items.title": "name"}))


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 5), st.integers(1, 4), st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"))
        ),
        max_size=12,
    )
)
def test_every_tag_with_text_comes_through(
    tmp_path_factory: pytest.TempPathFactory, tags: list[tuple[int, int, str]]
) -> None:
    """Whatever a user typed is the query, to the letter."""
    src = ml_latest(tmp_path_factory.mktemp("ml") / "src")
    quoted = [
        f'{user},{film},"{text.replace(chr(34), chr(34) * 2)}",{1445714994 + place}'
        for place, (user, film, text) in enumerate(tags)
    ]
    (src / "tags.csv").write_text(
        "userId,movieId,tag,timestamp\n" + "".join(line + "\n" for line in quoted), encoding="utf-8", newline=""
    )
    report = import_folder("movielens", src, src.parent / "out")
    searches = table(src.parent / "out", "searches")
    blank = pl.Series([text for _, _, text in tags], dtype=pl.String).str.strip_chars() == ""
    kept = [(str(user), text, [str(film)]) for (user, film, text), none in zip(tags, blank, strict=True) if not none]
    assert searches.select("user_id", "clicked").rows() == [(user, clicked) for user, _, clicked in kept]
    assert [query.strip() for query in searches["query"]] == [text.strip() for _, text, _ in kept]
    assert report.rejects.is_empty()


def test_share_of_searches(tmp_path: Path) -> None:
    """10,000 ratings, expected 2,000 searches; four standard deviations are 160.

    About half of the queries are titles.
    """
    src = ml_latest(tmp_path / "src", tags=None, links=None, movies="movieId,title,genres\n1,Heat (1995),Action\n")
    rows = "".join(f"{user},1,4.0,{964982703 + user}\n" for user in range(10_000))
    (src / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + rows)
    report = import_folder("movielens", src, tmp_path / "out")
    assert abs(report.written["searches"] - 10_000 / SEARCH_SHARE) < 160
    queries = table(tmp_path / "out", "searches")["query"]
    assert abs((queries == "heat").mean() - 0.5) < 0.06  # type: ignore[operator]


def test_command_line(tmp_path: Path) -> None:
    src = ml_latest(tmp_path / "src")
    command = [sys.executable, "-m", "searec", "import", "movielens", str(src), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "note: 1 film is rated or tagged and not in movies.csv" in done.stdout
    assert "searches: 3 of 3 rows kept" in done.stdout
    done = subprocess.run(
        [*command[:-2], str(tmp_path / "nothing"), str(tmp_path / "o2")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no MovieLens set" in done.stderr
