"""Who is told what happens, in the admin API and on the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crossfade.control.message_sender import MessageSender
from tests.admin.site import Site
from tests.cli.conftest import Shell
from tests.control.harness import CANARY, HEAD
from tests.control.receiver import Hook, listening

DEAD = "http://127.0.0.1:1/hooks/7f3a9c"


@asynccontextmanager
async def telling(site: Site, url: str) -> AsyncIterator[MessageSender]:
    """One receiver of the whole file, and one of the route that cannot be reached."""
    head = f"\nnotify: {{webhook: '{url}', name: chat, on: abort}}" + HEAD
    await site.harness.load(f"{CANARY}    notify: {{webhook: '{DEAD}', name: own, format: slack}}\n", head)
    sender = MessageSender(site.harness.controller.notify)
    sender.begin(site.url)
    try:
        yield sender
    finally:
        await sender.close()


async def test_what_waits_is_shown_without_urls(site: Site) -> None:
    assert await site.get("/api/v1/notifications") == {
        "receivers": [],
        "outcomes": dict.fromkeys(("sent", "retried", "refused", "expired", "dropped", "withdrawn"), 0),
    }
    async with listening(Hook()) as url, telling(site, url):
        await site.ask("POST", "/api/v1/rollouts/churn/abort")
        found = await site.get("/api/v1/notifications")
    chat, own = found["receivers"]
    assert (chat["name"], chat["route"], chat["format"], chat["on"]) == ("chat", None, "json", ["abort"])
    assert (own["name"], own["route"], own["format"], own["waiting"]) == ("own", "churn", "slack", 1)
    assert own["oldest"] is not None and "7f3a9c" not in str(found)


async def test_a_test_says_who_was_reached(site: Site, shell: Shell) -> None:
    hook = Hook()
    async with listening(hook) as url, telling(site, url):
        every = await site.ask("POST", "/api/v1/notifications/test")
        assert [(each["name"], each["arrived"]) for each in every["receivers"]] == [
            ("chat", True),
            ("own", False),
        ]
        assert (await site.ask("POST", "/api/v1/notifications/test?route=none", 404))["detail"]
        said = await shell.run_with_admin("notify", "--test", "--route", "churn")
        assert said.code == 1
        lines = [line.split() for line in said.out.splitlines()]
        assert ["chat", "-", "yes", "the", "webhook", "answered", "200"] in lines
        assert ["own", "churn", "NO"] in [line[:3] for line in lines]
        shown = await shell.run_with_admin("notify")
        assert (shown.code, "chat" in shown.out, "slack" in shown.out) == (0, True, True)
        assert (await shell.run_with_admin("notify", "--route", "churn")).code == 2
    assert [(told["event"], told["route"]) for told in hook.told] == [("test", None), ("test", "churn")]
    await site.harness.load()
    alone = await shell.run_with_admin("notify")
    assert "nobody is told what happens" in alone.out
    none = await shell.run_with_admin("notify", "--test")
    assert (none.code, "There is nobody to tell." in none.out) == (0, True)
