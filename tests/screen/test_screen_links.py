"""The links screen: the matrix, its cursor, the pair under it, and what was refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from aquahost.messages.snapshot import FlowView
from aquahost_tui.screens.links import LinksScreen
from aquahost_tui.store.pair_traffic import PairTraffic
from aquahost_tui.widgets.link_detail import LinkDetail
from aquahost_tui.widgets.link_matrix import HOST, LinkMatrix
from aquahost_tui.widgets.link_notes import LinkNotes
from aquahost_tui.widgets.link_traffic import LinkTraffic
from tui_host import made_app, settle


@asynccontextmanager
async def links(size: tuple[int, int] = (120, 40)) -> AsyncIterator[Pilot[Any]]:
    app = made_app()
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await pilot.press("6")
        await pilot.pause()
        assert isinstance(app.screen, LinksScreen)
        yield pilot


def text(pilot: Pilot[Any], kind: type[LinkMatrix | LinkDetail | LinkNotes | LinkTraffic]) -> str:
    return pilot.app.screen.query_one(kind).render().plain


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_the_matrix_shows_every_link(size: tuple[int, int]) -> None:
    async with links(size) as pilot:
        head, *rows = text(pilot, LinkMatrix).splitlines()
        assert head.split() == ["from→to", *(f"GPU {gpu}" for gpu in range(8)), "host"] or "GPU 7" in head
        assert len(rows) == 9
        assert rows[0].count("━ 8.8") == 7
        assert rows[3].count("✕") == rows[5].count("✕") == 1
        assert rows[8].count("┅ 0.9") == 8
        assert "▸━ 8.8" in rows[4], "GPU 4 sends to GPU 0"
        matrix = pilot.app.screen.query_one(LinkMatrix)
        assert matrix.size.height == 10, "nothing is cut off"
        assert pilot.app.screen.query_one(LinkNotes).region.height >= 1


async def test_arrow_keys_move_the_cursor_and_the_pair_follows() -> None:
    async with links() as pilot:
        matrix = pilot.app.screen.query_one(LinkMatrix)
        assert matrix.pair == (0, 1)
        await pilot.press("down", "down", "down", "down", "left")
        assert matrix.pair == (4, 0)
        shown = text(pilot, LinkDetail)
        assert "GPU 4 → GPU 0  ━ NVLink  8.8 GB/s" in shown
        assert "GPU 0 → GPU 4" in shown
        assert "now    2.7G/s" in shown
        assert "lease 2: GPU 4 lends 6.0G to chat, mapped" in shown
        await pilot.press("x")
        assert matrix.pair == (0, 4)
        await pilot.press("up", "up", *["right"] * 20)
        assert matrix.pair == (0, HOST)
        assert "GPU 0 → host  ┅ PCIe  0.9 GB/s" in text(pilot, LinkDetail)


async def test_a_click_moves_the_cursor() -> None:
    async with links() as pilot:
        matrix = pilot.app.screen.query_one(LinkMatrix)
        await pilot.click(LinkMatrix, offset=(8 + 5 * 11 + 4, 4))
        assert matrix.pair == (3, 5)
        assert "GPU 3 → GPU 5  ✕ refused: bytes arrived wrong" in text(pilot, LinkDetail)


async def test_refused_pairs_are_listed_once_with_their_reason() -> None:
    async with links() as pilot:
        assert text(pilot, LinkNotes) == "✕ GPU 3 ↔ GPU 5  bytes arrived wrong"


async def test_traffic_is_listed_the_most_first() -> None:
    async with links() as pilot:
        lines = text(pilot, LinkTraffic).splitlines()
        assert [line.split("  ")[0].strip() for line in lines] == [
            "GPU 7 → GPU 1", "GPU 6 → GPU 0", "GPU 4 → GPU 0", "GPU 2 → GPU 0",
        ]  # fmt: skip
        assert "4.5G/s" in lines[0]


def test_a_way_without_traffic_falls_to_nothing() -> None:
    pairs = PairTraffic()
    pairs.take([FlowView(source=1, target=0, bytes_per_s=5.0)], 0.0)
    pairs.take([], 1.0)
    pairs.take([FlowView(source=1, target=0, bytes_per_s=7.0)], 2.0)
    assert list(pairs.between(1, 0).last(9)) == [5.0, 0.0, 7.0]
    assert pairs.between(0, 1).now == 0.0
