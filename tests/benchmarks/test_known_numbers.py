"""What a known number is worth is told by pairs: with it and without, on the same world, fold and seed."""

from benchmarks.known_numbers import RESULTS, SCALES, Trained, kept, table


def trained(world: int, fold: int, scale: float, score: float) -> Trained:
    return Trained(world=world, fold=fold, seed=0, scale=scale, scores=dict.fromkeys(("all", "id", "ood"), score))


def test_gains_are_those_over_the_same_fold_without_the_number():
    made = [
        trained(world, fold, scale, 0.5 + fold - scale * world / 100)
        for world in (1, 2)
        for fold in (0, 1)
        for scale in SCALES
    ]
    rows = [[cell.strip().strip("*") for cell in row.strip("|").split("|")] for row in table(made).splitlines()[2:]]

    assert [row[0] for row in rows] == ["`tail.number_scale: 0.1`", "`tail.number_scale: 0.3`"]
    assert [row[1].split(" ")[0] for row in rows] == ["+1.5", "+4.5"]  # means of 0.1 x 1 / 100 and 0.1 x 2 / 100
    assert all(row[1] == row[2] == row[3] for row in rows)
    assert {row[4] for row in rows} == {"2 x 2"}


def test_a_fold_that_was_not_trained_without_it_does_not_count():
    made = [trained(1, 0, 0.0, 0.5), trained(1, 0, 0.1, 0.4), trained(1, 0, 0.3, 0.4), trained(1, 1, 0.1, 0.1)]

    assert "| 1 x 1 |" in table(made).splitlines()[2]


def test_the_page_holds_the_table_of_what_is_kept():
    assert table(list(kept())) in RESULTS.with_name("FORECASTS.md").read_text(encoding="utf-8")
