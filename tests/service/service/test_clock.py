"""The calendar clock of the service is set back while it runs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from running_service import PATIENCE, Running, click, command, eventually, in_data
from small_shop import Shop

from searec.errors import AccessError, Overloaded
from searec.service.client import Client
from searec.store.store import Store


def test_a_clock_that_is_set_back(
    services: Callable[..., Running], shop: Shop, clock_library: Path, tmp_path: Path
) -> None:
    shift = tmp_path / "shift"
    shift.write_text("0")
    preloaded = {"LD_PRELOAD": str(clock_library), "CLOCK_SHIFT": str(shift)}
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store(url) as store:
        admin = store.keys.add("admin", "admin")
        store.keys.add("leaves", "read")
    service = services(store=url, environment=preloaded, rate=15)
    user, (one, two) = in_data(shop)[0], shop.data.items.texts[:2]
    worker = ["interests", "worker", str(shop.folder), "--store", url, "--reasoner", "offline", "--once"]
    with service.client(admin, tries=20) as client, Store(url) as store:
        client.report([click("before", user, one)])
        client.refresh(user)
        command(*worker, **preloaded)
        assert client.interests(user).source == "fresh"
        shift.write_text(str(-3 * 3600))
        try:
            client.report(
                [
                    {
                        **click("now", user, two),
                        "timestamp": (datetime.now(UTC) + timedelta(days=1, hours=-1)).isoformat(),
                    }
                ]
            )
            raise AssertionError("for this service that is more than a day from now: the clock was not set back")
        except Exception as error:
            assert "between 1970 and now" in str(error)
        client.report(
            [{**click("after", user, two), "timestamp": (datetime.now(UTC) - timedelta(hours=3)).isoformat()}]
        )
        assert [event.event_id for event in store.events.all_events()] == ["before", "after"], (
            "in the order of their numbers"
        )
        assert [event.number for event in store.events.all_events()] == sorted(
            event.number for event in store.events.all_events()
        )
        page = client.recommend(user, k=100)
        assert not {one, two} & {item.item_id for item in page.items}, "both were clicked"
        # interests: asked for, made and served by the clock as it is now
        assert client.interests(user).source in ("fresh", "last")
        client.refresh(user)
        command(*worker, **preloaded)
        assert store.jobs.counts().queued + store.jobs.counts().leased == 0
        eventually(lambda: client.recommend(user).interests in ("fresh", "last"))
        # keys: a new one opens, a revoked one does not
        new = store.keys.add("comes", "read")
        store.keys.revoke("leaves")
        eventually(lambda: opens(service, new))
        # rates: too many are refused, and a second later no longer
        with service.client(new) as fast:
            with pytest.raises(Overloaded, match="too many requests in one second"):
                for _ in range(500):
                    fast.users()
            eventually(lambda: opens(service, new))
    assert service.stop() == 0


def opens(service: Running, key: str) -> bool:
    """Whether a key is let in."""
    try:
        with Client(service.url, key, timeout=PATIENCE, tries=1) as client:
            client.users()
    except (AccessError, Overloaded):
        return False
    return True
