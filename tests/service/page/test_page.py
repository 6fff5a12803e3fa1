"""The page in a real browser against a real service: what one sees, and that the keyboard alone does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from shopfront import CHROMIUM, FLAGS, Locked

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"no browser at {CHROMIUM}")
PATIENCE = 20_000
HOSTILE = "<img src=x onerror=\"document.body.dataset.hacked='yes'\"> zanzibar"
RIGHT_TO_LEFT = "נעלי ריצה zanzibar 👟👩🏽‍🚀"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        except sync_api.Error as error:
            pytest.skip(f"the browser does not start: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


Open = Callable[..., Any]


def close(context: BrowserContext) -> None:
    """Close it; what a handler still does then is of no interest, and one that holds its request is not waited for."""
    for page in context.pages:
        page.unroute_all(behavior="ignoreErrors")
    context.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens a page; at the end, no request has left its origin.

    No script has failed and the policy was never broken.
    """
    contexts, requests, said = [], [], []

    def hear(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or (
            message.type == "error" and "Failed to load resource" not in message.text
        ):
            said.append(message.text)

    def visit(url: str, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append((url, request.url)))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", hear)
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        close(context)
    assert requests
    assert [asked for url, asked in requests if httpx.URL(asked).netloc != httpx.URL(url).netloc] == []
    assert said == []


@pytest.fixture(scope="module")
def ask(service: str) -> Callable[..., Any]:
    """What the service answers, asked without the page."""

    def ask(path: str, **parameters: Any) -> Any:
        return httpx.get(service + path, params=parameters).raise_for_status().json()

    return ask


@pytest.fixture(scope="module")
def wishing(ask: Callable[..., Any]) -> str:
    """A user with interests whose feed is more novel the more places interests have."""
    for user in ask("/v1/users", count=60)["user_ids"]:
        few, many = (ask("/v1/recommend", user_id=user, quota=quota) for quota in (0, 1))
        if ask(f"/v1/users/{user}/interests")["graph"] and few["enr"] < many["enr"]:
            return str(user)
    raise AssertionError("no such user in this world")


def titles(page: Page, panel: str) -> list[str]:
    return page.locator(f"#{panel}-list .title").all_inner_texts()


def ready(page: Page, panel: str = "feed") -> None:
    """The list stands."""
    expect(page.locator(f"#{panel}-list .title").first).to_be_visible()
    expect(page.locator(f"#{panel}-list")).not_to_have_attribute("aria-busy", "true")


def hold(page: Page, url: str) -> list[Route]:
    """The requests of an address from now on; each waits until it is told to continue."""
    held: list[Route] = []

    def keep(route: Route) -> None:
        held.append(route)

    page.route(url, keep)
    return held


# --- lists ---


def test_search_and_feed_are_what_the_service_answers(visit: Open, service: str, ask: Callable[..., Any]) -> None:
    word = ask("/v1/suggest", k=1)["queries"][0]["query"]
    page = visit(f"{service}/?user=u3&q={word}")
    ready(page)
    ready(page, "search")
    feed, found = ask("/v1/recommend", user_id="u3"), ask("/v1/search", user_id="u3", q=word)
    assert titles(page, "feed") == [one["title"] for one in feed["items"]]
    assert titles(page, "search") == [one["title"] for one in found["items"]]
    first = page.locator("#feed-list li").first
    expect(first).to_contain_text(feed["items"][0]["reason"])
    expect(first).to_contain_text(" › ".join(feed["items"][0]["categories"]))
    expect(first.locator(".badge").first).to_have_text(feed["items"][0]["channel"])
    assert page.locator("#feed-list .badge.novel").count() == sum(one["novel"] for one in feed["items"])
    expect(page.locator("#live")).to_contain_text("Feed: 10 items")


def test_more_goes_on_where_the_page_ended(visit: Open, service: str) -> None:
    page = visit(f"{service}/?user=u3")
    ready(page)
    first = titles(page, "feed")
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#feed-list .title")).to_have_count(20)
    ids = page.locator("#feed-list .title").evaluate_all("all => all.map(one => one.dataset.item)")
    assert len(set(ids)) == 20 and titles(page, "feed")[:10] == first
    expect(page.locator("#feed-list .title").nth(10)).to_be_focused()


def test_the_dial_changes_novelty_and_the_places_of_interests(
    visit: Open, service: str, wishing: str, ask: Callable[..., Any]
) -> None:
    page = visit(f"{service}/?user={wishing}&quota=0")
    ready(page)
    expect(page.locator("[data-interest-count]")).to_have_text("0")
    before = page.locator("[data-enr]").inner_text()
    page.locator("#quota").focus()
    page.keyboard.press("End")
    expect(page.locator("#quota-value")).to_have_text("100 %")
    answer = ask("/v1/recommend", user_id=wishing, quota=1)
    from_interests = sum(one["channel"] == "interest" for one in answer["items"])
    assert from_interests > 0
    expect(page.locator("[data-interest-count]")).to_have_text(str(from_interests))
    expect(page.locator("#feed-list .badge.accent")).to_have_count(from_interests)
    expect(page.locator("[data-enr]")).to_have_text(f"{answer['enr']:.2f}")
    assert float(before) < answer["enr"]
    assert "quota=1" in page.url


def test_filters_narrow_both_lists_and_can_be_taken_back(visit: Open, service: str, ask: Callable[..., Any]) -> None:
    category = ask("/v1/filters")["columns"]["categories"][0]
    page = visit(f"{service}/?user=u3&q=a")
    ready(page)
    page.locator("summary", has_text="Category").click()
    page.get_by_label(category, exact=True).check()
    chip = page.locator("#chips button")
    expect(chip).to_contain_text(f"Category: {category}")
    shown = page.locator("#feed-list .path")
    expect(page.locator("#feed-list .path", has_text=category)).to_have_count(10)
    assert all(category in text.split(" › ") for text in shown.all_inner_texts())
    page.keyboard.press("Escape")
    chip.click()
    expect(chip).to_have_count(0)
    assert "filter" not in page.url


@pytest.fixture
def word(ask: Callable[..., Any]) -> str:
    """A word with more results than a page."""
    titles = (one["title"] for one in ask("/v1/recommend", k=100)["items"])
    words = {word for title in titles for word in title.lower().split() if len(word) > 5 and word.isalpha()}
    return next(word for word in sorted(words) if ask("/v1/search", q=word)["total"] > 12)


def test_facets_and_a_range_narrow_the_results(visit: Open, service: str, ask: Callable[..., Any], word: str) -> None:
    page = visit(f"{service}/?q={word}")
    ready(page, "search")
    total = ask("/v1/search", q=word)["total"]
    expect(page.locator("#search-list .summary")).to_contain_text(f"10 of {total} results.")
    page.locator("#facets summary").click()
    brand = page.locator(".facet", has_text="Brand").locator("label").first
    value, count = brand.locator("span").inner_text(), int(brand.locator("small").inner_text())
    brand.locator("input").check()
    expect(page.locator("#search-list .title")).to_have_count(min(count, 10))
    answer = ask("/v1/search", q=word, filter=f"brand:{value}", facets="categories")
    assert titles(page, "search") == [one["title"] for one in answer["items"]]
    expect(page.locator("#chips button")).to_contain_text(value)
    expect(brand.locator("input")).to_be_focused()
    brand.locator("input").uncheck()
    expect(page.locator("#chips button")).to_have_count(0)
    parent, child = next(
        (one["parent"], one["value"])
        for one in ask("/v1/search", q=word, facets="categories")["facets"]["categories"]["values"]
        if one["parent"]
    )
    tree = page.locator(".facet", has_text="Category")
    expect(
        tree.locator("li", has=page.get_by_text(parent, exact=True)).locator("ul", has_text=child).first
    ).to_be_visible()
    page.get_by_label("Price from").fill("20")
    page.get_by_label("Price to").fill("60")
    page.locator(".range button").click()
    expect(page.locator("#chips button")).to_contain_text("Price: 20 to 60")
    narrow = ask("/v1/search", q=word, filter="price:20..60")
    expect(page.locator("#search-list .title")).to_have_count(len(narrow["items"]))
    assert titles(page, "search") == [one["title"] for one in narrow["items"]]


def test_results_are_sorted_and_pages_go_on_in_that_order(
    visit: Open, service: str, ask: Callable[..., Any], word: str
) -> None:
    page = visit(f"{service}/?q={word}")
    ready(page, "search")
    page.locator("#sort").select_option("price")
    page.wait_for_url("**sort=price")
    everything = [one["title"] for one in ask("/v1/search", q=word, sort="price", k=100)["items"]]
    expect(page.locator("#search-list .title").first).to_have_text(everything[0])
    page.locator("#search-list").get_by_role("button", name="Show more").click()
    expect(page.locator("#search-list .title")).to_have_count(min(20, len(everything)))
    assert titles(page, "search") == everything[:20]
    page.go_back()
    expect(page.locator("#sort")).to_have_value("relevance")


def test_what_matches_is_marked_and_a_correction_can_be_undone(
    visit: Open, service: str, ask: Callable[..., Any], word: str
) -> None:
    typed = word[:3] + word[4:]
    assert ask("/v1/search", q=typed)["query"]["text"] == word
    page = visit(f"{service}/?q={typed}")
    ready(page, "search")
    note = page.locator("#search-list .note")
    expect(note).to_contain_text(f"Results for {word}. Search for “{typed}” instead")
    marks = page.locator("#search-list .title mark").all_inner_texts()
    assert marks
    assert all(mark.lower().startswith(word[:4]) for mark in marks)
    note.get_by_role("button").click()
    page.wait_for_url("**exact=1")
    expect(note.filter(has_text="Results for")).to_have_count(0)
    assert titles(page, "search") == [one["title"] for one in ask("/v1/search", q=typed, spelling=False)["items"]]
    page.fill("#query", "qqxzzy")
    page.keyboard.press("Enter")
    expect(page.locator("#search-list .empty")).to_contain_text("Nothing found for “qqxzzy”. Try fewer or other words.")
    assert "exact" not in page.url


def test_notes_above_results(visit: Open, service: str, ask: Callable[..., Any], word: str) -> None:
    answer = ask("/v1/search", q=word)
    answer["query"] |= {
        "suggestion": "<b>hats</b>",
        "redirect": "javascript:alert(1)",
        "relaxed": {"step": "most words", "missing": ["<i>blue</i>", "red"]},
    }
    answer["items"][0] |= {"title": "👟 <i>Blue</i> shoe", "highlights": {"title": [[5, 9]], "description": None}}
    page = visit(service)
    ready(page)
    page.route("**/v1/search*", lambda route: route.fulfill(json=answer))
    page.fill("#query", word)
    page.keyboard.press("Enter")
    ready(page, "search")
    notes = page.locator("#search-list .note")
    expect(notes).to_have_count(2)
    expect(notes.first).to_have_text("Did you mean <b>hats</b>?")
    expect(notes.last).to_have_text("No item has all words; these have most of them. Not found: “<i>blue</i>”, “red”.")
    expect(page.locator("#search-list .title mark").first).to_have_text("Blue")
    assert page.locator("#search-list a").count() == 0
    notes.first.get_by_role("button").click()
    expect(page.locator("#query")).to_have_value("<b>hats</b>")
    answer["query"] |= {"redirect": "/sale", "suggestion": None, "relaxed": None}
    page.locator("#search-form button").click()
    expect(page.locator("#search-list .note a")).to_have_attribute("href", "/sale")


def test_parts_left_out_are_named(visit: Open, service: str) -> None:
    page = visit(service)

    def late(route: Route) -> None:
        answer = route.fetch().json()
        route.fulfill(json={**answer, "left_out": [{"part": "itemknn", "why": "late"}]})

    page.route("**/v1/recommend*", late)
    page.reload()
    expect(page.locator("#feed-list .note")).to_have_text("Missing: itemknn (took too long).")


def test_an_answer_that_comes_late_is_dropped(visit: Open, service: str, ask: Callable[..., Any]) -> None:
    queries = [one["query"] for one in ask("/v1/suggest", k=10)["queries"]]
    slow, quick = [query for query in queries if ask("/v1/search", q=query)["items"]][:2]
    page = visit(service)
    held: list[Route] = []

    def hold(route: Route) -> None:
        if httpx.URL(route.request.url).params["q"] == slow:
            held.append(route)
        else:
            route.continue_()

    page.route("**/v1/search*", hold)
    for query in (slow, quick):
        page.fill("#query", query)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**q={query.replace(' ', '+')}")
    ready(page, "search")
    found = [one["title"] for one in ask("/v1/search", q=quick)["items"]]
    assert titles(page, "search") == found
    assert held
    page.evaluate("window.answered = false")
    held[0].fulfill(json={**ask("/v1/search", q=slow), "items": []})
    page.evaluate("fetch('/healthz')")
    assert titles(page, "search") == found


# --- what the user does ---


def test_a_click_is_recorded_leaves_the_feed_and_is_in_the_history(
    visit: Open, service: str, ask: Callable[..., Any]
) -> None:
    page = visit(f"{service}/?user=u5")
    ready(page)
    target = page.locator("#feed-list .title").nth(2)
    item, title = target.get_attribute("data-item"), target.inner_text()
    target.click()
    expect(page.locator("#toast")).to_contain_text("Recorded")
    expect(page.locator(f"#feed-list [data-item='{item}']")).to_have_count(0)
    expect(page.locator("#history .past li").first).to_have_attribute("data-item", str(item))
    expect(page.locator("#history .past li").first).to_contain_text(title)
    newest = ask("/v1/users/u5")["history"][0]
    assert (newest["type"], newest["item_id"]) == ("click", item)
    assert item not in {one["item_id"] for one in ask("/v1/recommend", user_id="u5", k=100)["items"]}


def test_a_search_and_a_click_in_it_belong_together(visit: Open, service: str, ask: Callable[..., Any]) -> None:
    query = ask("/v1/suggest", k=1)["queries"][0]["query"]
    page = visit(f"{service}/?user=u6")
    ready(page)
    page.fill("#query", query)
    page.keyboard.press("Enter")
    expect(page.locator("#history .past li.search").first).to_contain_text(query)
    expect(page.locator("#history .past li").first).to_have_class("search")
    target = page.locator("#search-list .title").first
    item = target.get_attribute("data-item")
    target.click()
    row = page.locator("#history .past li").first
    expect(row).to_have_attribute("data-item", str(item))
    expect(row).to_contain_text(f"found by {query}")
    assert ask("/v1/users/u6")["history"][0]["query"] == query


def test_nothing_is_recorded_when_it_is_switched_off(visit: Open, service: str, ask: Callable[..., Any]) -> None:
    page = visit(f"{service}/?user=u7")
    ready(page)
    page.locator("#record").uncheck()
    posted: list[str] = []
    page.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
    before = ask("/v1/users/u7")["history"]
    target = page.locator("#feed-list .title").first
    target.click()
    expect(target).to_have_attribute("aria-expanded", "true")
    expect(page.locator("#feed-list .about").first).to_contain_text(str(target.get_attribute("data-item")))
    page.fill("#query", "blue")
    page.keyboard.press("Enter")
    expect(page.locator("#search-list")).not_to_have_attribute("aria-busy", "true")
    page.reload()
    ready(page)
    expect(page.locator("#record")).not_to_be_checked()
    assert posted == [] and ask("/v1/users/u7")["history"] == before


@pytest.fixture
def slow_start(visit: Open, service: str) -> Iterator[tuple[Page, Callable[[], None]]]:
    """A page whose start is held before it knows what its key may do, and what lets it go on."""
    page = visit(f"{service}/?user=u10")
    held = hold(page, "**/v1/filters")
    page.reload()
    ready(page)

    def go_on() -> None:
        with page.expect_response("**/v1/users?count=1"):  # the permission follows it
            held.pop().continue_()

    yield page, go_on


def test_recording_can_be_switched_off_before_the_page_knows_its_rights(
    slow_start: tuple[Page, Callable[[], None]], ask: Callable[..., Any]
) -> None:
    page, go_on = slow_start
    before, shown = ask("/v1/users/u10")["history"], titles(page, "feed")
    expect(page.locator("#record")).to_be_checked()
    page.locator("#record").uncheck()
    go_on()
    expect(page.locator("#record")).not_to_be_checked()
    target = page.locator("#feed-list .title").first
    target.click()
    expect(target).to_have_attribute("aria-expanded", "true")
    assert titles(page, "feed") == shown and ask("/v1/users/u10")["history"] == before


def test_a_click_before_the_page_knows_its_rights_is_recorded(
    slow_start: tuple[Page, Callable[[], None]], ask: Callable[..., Any]
) -> None:
    page, go_on = slow_start
    target = page.locator("#feed-list .title").first
    item = target.get_attribute("data-item")
    target.click()
    expect(page.locator("#toast")).to_contain_text("Recorded")
    go_on()
    assert ask("/v1/users/u10")["history"][0]["item_id"] == item


def test_details_of_two_items_load_side_by_side(visit: Open, service: str) -> None:
    page = visit(service)
    ready(page)
    held = hold(page, "**/v1/items/*")
    rows = page.locator("#feed-list li")
    for at in range(2):
        with page.expect_request("**/v1/items/*"):
            rows.nth(at).locator(".title").click()
    for route in held:
        route.continue_()
    for at in range(2):
        item = str(rows.nth(at).locator(".title").get_attribute("data-item"))
        expect(rows.nth(at).locator(".about")).to_contain_text(f"item_id{item}")


def test_graph_and_reasons_hold_what_the_service_tells(
    visit: Open, service: str, wishing: str, ask: Callable[..., Any]
) -> None:
    told = ask(f"/v1/users/{wishing}/interests")
    page = visit(f"{service}/?user={wishing}")
    nodes = page.locator("svg.graph .node.interest")
    expect(nodes).to_have_count(len(told["interests"]))
    assert set(nodes.locator("title").all_text_contents()) == {
        f"interest “{one['text']}”, confidence {one['confidence']:.2f}; {one['reason']}" for one in told["interests"]
    }
    targets = {edge["target"] for edge in told["graph"]["edges"] if edge["relation"] == "hypernym"}
    leading = {edge["source"] for edge in told["graph"]["edges"] if edge["relation"] != "hypernym"}
    expect(page.locator("svg.graph .node.demand")).to_have_count(len(targets & leading))
    assert page.locator("svg.graph .step.hyponym, svg.graph .step.co-hyponym").count() >= len(told["interests"])
    assert page.locator("#interests .reasons .reason").all_inner_texts() == [one["reason"] for one in told["interests"]]
    page.locator("svg.graph .node[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("svg.graph .node.demand:focus")).to_have_count(1)
    page.keyboard.press("ArrowRight")
    chosen = page.locator("svg.graph .node.interest:focus text").text_content()
    page.keyboard.press("Enter")
    expect(page.locator("#query")).to_have_value(str(chosen))


def test_of_a_drawing_only_known_shapes_are_copied(browser: Browser, service: str, wishing: str) -> None:
    context = browser.new_context()  # not `visit`: the policy blocks the hostile parts, and says so
    page = context.new_page()
    hostile = (
        '<svg xmlns="http://www.w3.org/2000/svg" class="graph" viewBox="0 0 9 9" '
        'onload="document.body.dataset.hacked=1">'
        "<script>document.body.dataset.hacked = 1</script><style>body{display:none}</style>"
        '<foreignObject><b xmlns="http://www.w3.org/1999/xhtml">bold</b></foreignObject><a href="javascript:alert(1)"/>'
        '<g class="node interest" data-node="2-0" data-text="&lt;i&gt;" onclick="document.body.dataset.hacked=1"'
        ' style="fill:red"><title>&lt;i&gt; title</title><rect width="9" height="9"/></g></svg>'
    )

    def change(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "picture": hostile})

    page.route("**/v1/users/*/interests", change)
    page.goto(f"{service}/?user={wishing}")
    node = page.locator("svg.graph .node.interest")
    expect(node.locator("title")).to_have_text("<i> title")
    names = page.locator("svg.graph *").evaluate_all("all => all.map(one => one.localName)")
    assert names == ["g", "title", "rect"]
    assert node.evaluate("one => one.getAttributeNames().sort()") == [
        "aria-label", "class", "data-node", "data-text", "role", "tabindex",
    ]  # fmt: skip
    node.click()
    expect(page.locator("#query")).to_have_value("<i>")
    assert page.evaluate("document.body.dataset.hacked ?? 'no'") == "no"
    assert page.locator("#interests").is_visible()
    close(context)


# --- models ---


def test_models_can_be_sorted_and_the_best_is_marked(visit: Open, service: str, ask: Callable[..., Any]) -> None:
    page = visit(service)
    table = page.locator("#models table")
    expect(table.locator("tbody tr")).to_have_count(4)
    figures = {one["label"]: one["figures"].get("recommend/full/test") for one in ask("/v1/models")["models"]}
    measured = {label: own["ndcg@10"] for label, own in figures.items() if own}
    assert len(measured) == 3 and len(set(measured.values())) > 1
    head = page.get_by_role("columnheader", name="NDCG@10")
    for order, down in (("descending", True), ("ascending", False)):
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", order)
        labels = table.locator("tbody th bdi").all_inner_texts()
        assert [measured[label] for label in labels[:3]] == sorted(measured.values(), reverse=down) and labels[
            3
        ] == "bm25"
    place = table.locator("thead th").all_inner_texts().index(head.inner_text())
    best = table.locator(f"tbody tr:has(td:nth-child({place + 1}).best) th bdi").all_inner_texts()
    assert set(best) == {label for label, value in measured.items() if value == max(measured.values())}
    expect(table.get_by_role("columnheader", name="ENR")).to_have_count(1)
    page.get_by_label("Search, whole catalogue, test").check()
    expect(table.locator("tbody th bdi").first).to_have_text("bm25")


# --- keys and problems ---


def test_without_a_key_one_is_asked_for_and_a_wrong_one_is_told(visit: Open, locked: Locked) -> None:
    page = visit(f"{locked.url}/?user=u3")
    expect(page.locator("#key")).to_be_focused()
    expect(page.locator("#feed-list")).to_have_text("Waiting for a key.")
    page.fill("#key", "searec_wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-why")).to_have_text("The key is not valid.")
    page.fill("#key", locked.read)
    page.keyboard.press("Enter")
    ready(page)
    expect(page.locator("#key-form")).to_be_hidden()
    expect(page.locator("#record-why")).to_have_text("This key can only read.")
    expect(page.locator("#record")).to_be_disabled()
    expect(page.locator("#record")).not_to_be_checked()
    assert page.evaluate("[sessionStorage.getItem('searec-key'), localStorage.length, document.cookie]") == [
        locked.read,
        0,
        "",
    ]
    page.reload()
    ready(page)
    page.get_by_role("button", name="Forget the key").click()
    expect(page.locator("#key-form")).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('searec-key')") is None
    page.fill("#key", locked.write)
    page.keyboard.press("Enter")
    ready(page)
    expect(page.locator("#record")).to_be_checked()
    page.locator("#feed-list .title").first.click()
    expect(page.locator("#toast")).to_contain_text("Recorded")
    assert locked.write not in page.url and locked.write not in page.content()


def test_problems_are_explained(visit: Open, service: str) -> None:
    page = visit(f"{service}/?user=u3&q={'a' * 300}")
    problem = page.locator("#search-list .problem")
    expect(problem).to_contain_text(
        "A value breaks a rule. The query is too long (at query q; got 300 characters; expected at most 256)."
    )
    ready(page)
    document = {
        "type": "urn:searec:problem:storage",
        "title": "The store does not answer",
        "status": 503,
        "detail": "it is locked",
    }
    page.route(
        "**/v1/users/u3",
        lambda route: route.fulfill(
            status=503, content_type="application/problem+json", body=json.dumps(document | {"request_id": "r-1"})
        ),
    )
    page.route("**/v1/recommend*", lambda route: route.abort())
    page.reload()
    expect(page.locator("#history .problem")).to_contain_text("The store does not answer. It is locked.")
    expect(page.locator("#history .problem")).to_contain_text("Request r-1")
    expect(page.locator("#feed-list .problem")).to_contain_text("The service cannot be reached.")
    page.unroute("**/v1/recommend*")
    page.locator("#feed-list").get_by_role("button", name="Try again").click()
    ready(page)


def test_unknown_users_and_empty_lists_are_explained(visit: Open, service: str) -> None:
    page = visit(service)
    expect(page.locator("#search-list .empty")).to_contain_text("Search for something")
    expect(page.locator("#history .empty")).to_contain_text("Choose a user")
    expect(page.locator("#record-why")).to_have_text("Choose a user first.")
    page.fill("#user", "<i>nobody</i>")
    page.keyboard.press("Enter")
    expect(page.locator("#history .empty")).to_contain_text("There is no history of <i>nobody</i> yet.")
    expect(page.locator("#interests .empty")).to_contain_text("No interests are known yet.")


def test_titles_are_text_whatever_they_hold(visit: Open, service: str) -> None:
    items = [
        {
            "item_id": "hostile",
            "title": HOSTILE,
            "categories": ["<b>bold</b>"],
            "description": "<script>document.body.dataset.hacked='yes'</script>",
        },
        {"item_id": "rtl", "title": RIGHT_TO_LEFT, "categories": ["ספורט"]},
    ]
    httpx.post(f"{service}/v1/items", json={"items": items}).raise_for_status()
    page = visit(f"{service}/?user=u8&q=zanzibar", viewport={"width": 360, "height": 740})
    ready(page, "search")
    assert set(titles(page, "search")[:2]) == {HOSTILE, RIGHT_TO_LEFT}
    hostile = page.locator("#search-list [data-item='hostile']")
    assert page.locator("#search-list [data-item='rtl']").evaluate("one => getComputedStyle(one).direction") == "rtl"
    hostile.click()
    expect(page.locator("#search-list .about:visible")).to_contain_text("<script>document.body")
    expect(page.locator("#toast")).to_contain_text("<img src=x")
    expect(page.locator("#history .past li").first).to_contain_text("<img src=x")
    assert page.locator("main img, main script, #toast img, main b:text-is('bold')").count() == 0
    assert page.evaluate("document.body.dataset.hacked ?? 'no'") == "no"
    assert page.evaluate("document.documentElement.scrollWidth") == 360


# --- address ---


def test_the_address_holds_what_is_chosen(visit: Open, service: str, ask: Callable[..., Any]) -> None:
    category = ask("/v1/filters")["columns"]["categories"][0]
    page = visit(service)
    ready(page)
    page.fill("#user", "u9")
    page.keyboard.press("Enter")
    page.fill("#query", "blue")
    page.keyboard.press("Enter")
    expect(page.locator("#history .past li.search").first).to_contain_text("blue")  # recorded: the lists have settled
    page.locator("#diversity").focus()
    page.keyboard.press("End")
    page.locator("summary", has_text="Category").click()
    page.get_by_label(category, exact=True).check()
    page.wait_for_url(re.compile(r"\?user=u9&q=blue&diversity=1&filter=categories%3A"))

    def seen() -> list[Any]:
        ready(page)
        expect(page.locator("#search-list")).not_to_have_attribute("aria-busy", "true")
        fields = [page.input_value(name) for name in ("#user", "#query", "#diversity")]
        return [*fields, page.locator("#chips").inner_text(), titles(page, "feed"), titles(page, "search")]

    expect(page.locator("#feed-list .path", has_text=category)).to_have_count(10)
    before = seen()
    assert before[:3] == ["u9", "blue", "1"]
    page.reload()
    expect(page.locator("#chips button")).to_have_count(1)
    expect(page.locator("#history .past li").first).to_be_visible()
    assert seen() == before
    page.go_back()
    expect(page.locator("#chips button")).to_have_count(0)
    page.go_back()
    expect(page.locator("#diversity-value")).to_have_text("default")
    page.go_back()
    expect(page.locator("#query")).to_have_value("")
    expect(page.locator("#user")).to_have_value("u9")
    page.go_forward()
    expect(page.locator("#query")).to_have_value("blue")


# --- for everybody ---

OUTLINED = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
}"""


def tab_to(page: Page, selector: str) -> None:
    """Tab until there; every stop on the way shows that it has the focus."""
    for _ in range(30):
        page.keyboard.press("Tab")
        assert page.evaluate(OUTLINED), page.evaluate("document.activeElement.outerHTML")
        if page.locator(selector).first.evaluate("one => one === document.activeElement"):
            return
    raise AssertionError(f"30 tabs do not reach {selector}")


def test_the_keyboard_alone_is_enough(visit: Open, service: str, ask: Callable[..., Any]) -> None:
    page = visit(service)
    ready(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to search and feed")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to search and feed")).to_be_in_viewport()
    tab_to(page, "#user")
    page.keyboard.type("u1")
    expect(page.locator("#user-list [role=option]").first).to_have_text("u1")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    second = page.locator("#user-list [role=option]").nth(1)
    expect(second).to_have_attribute("aria-selected", "true")
    expect(page.locator("#user")).to_have_attribute("aria-activedescendant", str(second.get_attribute("id")))
    user = second.inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#user")).to_have_value(user)
    page.wait_for_url(f"**user={user}")
    tab_to(page, "#query")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#query")).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(page.locator("#query")).to_have_attribute("aria-expanded", "false")
    expect(page.locator("#query-list")).to_be_hidden()
    letter = ask("/v1/suggest", user_id=user, k=1)["queries"][0]["query"][0]
    page.keyboard.type(letter)
    options = page.locator("#query-list [role=option]")
    expect(options.first).to_be_visible()
    page.keyboard.press("ArrowUp")
    expect(options.last).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#query-list [aria-selected=true]")).to_have_count(0)
    page.keyboard.press("ArrowDown")
    query = options.first.locator("span").inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#query")).to_have_value(query)
    ready(page, "search")
    assert titles(page, "search") == [one["title"] for one in ask("/v1/search", user_id=user, q=query)["items"]]
    tab_to(page, "#search-list .title")
    page.keyboard.press("Enter")
    expect(page.locator("#search-list .title").first).to_have_attribute("aria-expanded", "true")


def test_landmarks_and_names(visit: Open, service: str) -> None:
    page = visit(f"{service}/?user=u3&q=blue")
    ready(page)
    for role in ("banner", "main", "contentinfo", "search"):
        expect(page.get_by_role(role)).to_have_count(1)
    for region in ("Search", "Feed", "History", "Interests", "Models"):
        expect(page.get_by_role("region", name=region, exact=True)).to_have_count(1)
    expect(page.locator("svg.graph")).to_be_visible()
    nameless = """() => [...document.querySelectorAll("button, input, summary, a, [role=button], [role=region]")]
      .filter(one => !(one.getAttribute("aria-label") || one.getAttribute("aria-labelledby")
        || one.textContent.trim() || one.labels?.length)
    ).map(one => one.outerHTML)"""
    assert page.evaluate(nameless) == []
    doubled = (
        "() => { const ids = [...document.querySelectorAll('[id]')].map(one => one.id); return ids.length "
        "- new Set(ids).size; }"
    )
    assert page.evaluate(doubled) == 0


@pytest.mark.parametrize("query", ["user=u3&q=blue&quota=0.5", "user=u3&q=" + "m" * 250])
def test_a_narrow_screen_shows_everything_without_scrolling_sideways(visit: Open, service: str, query: str) -> None:
    page = visit(f"{service}/?{query}", viewport={"width": 360, "height": 740})
    ready(page)
    expect(page.locator("svg.graph")).to_be_visible()
    expect(page.locator("#models tbody tr")).to_have_count(4)
    page.locator("summary", has_text="Category").click()
    expect(page.locator(".values:visible label").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    own = page.locator("#models .scroll").evaluate(
        "one => [one.scrollWidth > one.clientWidth, getComputedStyle(one).overflowX]"
    )
    assert own == [True, "auto"]
    page.keyboard.press("Escape")
    assert page.locator("summary:focus").count() == 1


CONTRAST = """() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return { r, g, b, a }; };
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = ({ r, g, b }) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ratio = (one, other) =>
    (Math.max(light(one), light(other)) + 0.05) / (Math.min(light(one), light(other)) + 0.05);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const box = one.matches("g.node") ? one.querySelector("rect") : null;
      const colour = parse(box ? getComputedStyle(box).fill : getComputedStyle(one).backgroundColor);
      if (colour.a === 1) return colour;
      if (colour.a !== 0) throw new Error("half transparent: " + one.className);
    }
    throw new Error("nothing behind");
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const element = text.parentElement;
    if (!text.data.trim() || element.closest("title, script, noscript, .sr-only")) continue;
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const front = parse(element.closest("svg") ? style.fill : style.color);
    const name = element.className.baseVal ?? element.className;
    found.push([ratio(front, behind(element)), text.data.trim().slice(0, 40), name]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(visit: Open, service: str, wishing: str, scheme: Any) -> None:
    page = visit(f"{service}/?user={wishing}&q=blue&quota=0.5", color_scheme=scheme, reduced_motion="reduce")
    ready(page)
    ready(page, "search")
    expect(page.locator("svg.graph")).to_be_visible()
    expect(page.locator("#models tbody tr")).to_have_count(4)
    page.locator("#record").uncheck()
    page.locator("#search-list .title").first.click()
    expect(page.locator("#search-list dl").first).to_be_visible()
    page.route(
        "**/v1/users/*",
        lambda route: route.fulfill(status=500, json={"title": "The service failed", "detail": "it has been logged"}),
    )
    page.fill("#user", wishing + "0")
    page.keyboard.press("Enter")
    expect(page.locator("#history .problem")).to_be_visible()
    page.locator("summary", has_text="Category").click()
    for panel in ("search", "feed"):
        ready(page, panel)
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    measured = page.evaluate(CONTRAST)
    assert len(measured) > 100
    assert [one for one in measured if one[0] < 4.5] == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(background) < 60 if scheme == "dark" else min(background) > 220
    assert page.locator("#feed-list").evaluate("one => getComputedStyle(one).transitionDuration") == "0s"


def test_the_policy_forbids_what_the_page_does_not_need(visit: Open, service: str) -> None:
    policy = httpx.get(service).headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy and "*" not in policy
    page = visit(service)
    ready(page)
    page.evaluate(
        "() => { const one = document.createElement('script'); one.id = 'own';"
        " one.textContent = 'document.body.dataset.hacked = 1'; }"
    )
    assert page.evaluate("document.querySelectorAll('[style], style, script:not([src])').length") == 0
