"""How much KV memory is wanted: at once when more is needed, after a while when less is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aquahost.engines.llm.kv_sizing import Linger, borrowed_chunks_wanted, headroom_chunks, local_chunks_wanted


def test_a_wish_rises_at_once_and_falls_after_a_while() -> None:
    linger = Linger(2.0, 5)
    assert linger.update(7, 0.0) == 7
    assert linger.update(3, 1.0) == 7
    assert linger.update(4, 2.0) == 7
    assert linger.update(3, 2.9) == 7
    assert linger.update(3, 3.0) == 4, "the highest of the meantime"
    assert linger.update(3, 3.5) == 4
    assert linger.update(6, 3.6) == 6
    assert linger.update(3, 5.6) == 6, "the while begins anew"


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 3)), max_size=50))
def test_what_is_kept_is_never_less_than_what_is_wished(wishes: list[tuple[int, float]]) -> None:
    linger = Linger(1.0)
    now_s = 0.0
    for wish, passed_s in wishes:
        now_s += passed_s
        assert linger.update(wish, now_s) >= wish


@given(blocks=st.integers(0, 10_000), chunk_blocks=st.integers(1, 64), local=st.integers(1, 200))
def test_local_memory_covers_the_prompts_and_headroom_or_is_all(blocks: int, chunk_blocks: int, local: int) -> None:
    chunks = local_chunks_wanted(blocks, chunk_blocks, local)
    assert headroom_chunks(local) <= chunks <= local
    assert chunks == local or (chunks - headroom_chunks(local)) * chunk_blocks >= blocks


def test_borrowing_begins_where_local_memory_ends() -> None:
    assert borrowed_chunks_wanted(100, 100, 16, 50) == 0
    assert borrowed_chunks_wanted(101, 100, 16, 50) == 1
    assert borrowed_chunks_wanted(10_000, 100, 16, 50) == 50
