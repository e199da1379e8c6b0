import pytest

from posttrain.terminal import progress_line, say


def test_line_reads_the_same_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    progress_line("sft", 300, 1500, 100.4, {"loss": 0.2123456, "kl": 1e-6})
    assert capsys.readouterr().out == "  sft  300/1500  1:40 left  loss 0.212  kl 1e-06\n"


def test_name_of_a_run_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    progress_line("[bold]x[/nope]", 1, 2, 3, {})
    assert "[bold]x[/nope]" in capsys.readouterr().out


def test_long_lines_are_not_wrapped_and_colons_are_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    say("pkg.mod:tada:" + "x" * 300)
    assert capsys.readouterr().out == "pkg.mod:tada:" + "x" * 300 + "\n"
