"""The command line: parse, call one action, render its record. Only the verb that was asked for is loaded."""

from __future__ import annotations

from gc import set_threshold  # `gc` here is the verb


def main() -> None:
    """Run the command line, and exit."""
    set_threshold(200_000, 20, 20)  # starting makes much and frees nothing: looking for garbage takes 25 ms
    from retrodict.cli.door import main as run  # 20 ms, for click, and less of them where no garbage is looked for

    run()
