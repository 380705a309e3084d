"""When the retained messages have come, and what the broker lacks of them."""

from bridge.mqtt.burst import Burst
from bridge.mqtt.retained import Held


class TestBurst:
    def test_it_is_over_after_an_exchange_in_which_none_came(self) -> None:
        burst = Burst()
        burst.came()
        burst.await_next()
        burst.asked()
        assert burst.answered() is True

    def test_it_goes_on_where_one_came_between_question_and_answer(self) -> None:
        burst = Burst()
        for came in (True, True, False):
            burst.await_next()
            burst.asked()
            if came:
                burst.came()
            assert burst.answered() is not came

    def test_the_answer_to_an_earlier_ping_shows_nothing(self) -> None:
        burst = Burst()
        burst.asked()
        burst.await_next()
        burst.asked()
        assert burst.answered() is None
        assert burst.answered() is True
        burst.asked()
        assert burst.answered() is None


class TestHeld:
    def test_what_is_missing_or_different_is_lacking(self) -> None:
        held = Held()
        held.begin()
        held.take("a", b"1")
        held.take("b", b"other")
        held.take("c", b"3")
        held.take("c", b"")
        lacking = [topic for topic in "abcd" if held.lacks(topic, b"1")]
        assert lacking == ["b", "c", "d"]
        assert [topic for topic in "abcd" if held.lacks(topic, b"")] == ["a", "b"]

    def test_nothing_is_kept_outside_of_a_comparison(self) -> None:
        held = Held()
        held.take("a", b"1")
        assert held.lacks("a", b"1")
        held.begin()
        held.take("a", b"1")
        held.end()
        held.begin()
        assert held.lacks("a", b"1")
