from collections import Counter

from tests.chaos.fault_plan import POINTS, draw_plan, missing_faults


def test_the_same_seed_draws_the_same_faults() -> None:
    assert draw_plan("7", 200) == draw_plan("7", 200)
    assert draw_plan("7", 200) != draw_plan("8", 200)


def test_every_run_has_as_many_faults_per_version() -> None:
    assert [len(draw_plan("7", versions)) for versions in (8, 16, 160, 200)] == [11, 22, 220, 275]


def test_a_deck_holds_faults_of_every_kind() -> None:
    kinds = Counter(fault.kind for fault in draw_plan("7", 160))
    assert len(kinds) == 13
    assert kinds["kill gpu worker"] == 40


def test_delivery_is_killed_before_the_claim_and_the_engine_after_it() -> None:
    for fault in draw_plan("7", 200):
        if fault.kind in ("kill webhook", "kill poller", "kill events worker"):
            assert POINTS.index(fault.point) < POINTS.index("claimed")
        if fault.kind in ("kill gpu worker", "kill engine", "out of memory"):
            assert POINTS.index(fault.point) >= POINTS.index("claimed")


def test_a_fault_that_did_not_strike_is_reported_with_its_version() -> None:
    plan = draw_plan("7", 8)
    assert missing_faults(plan, reversed(plan)) == []
    assert missing_faults(plan, plan[1:]) == [f"the fault did not strike: {plan[0]}"]
