"""Settings written as other tools have them: capitals, dashes, colons, commas, quotes, comments."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("section", "line", "meant"),
    [
        ("[flowstone]", "STORE = sqlite://", "store"),
        ("[flowstone]", "Poll-Threads = 5", "poll_threads"),
        ("[flowstone:sensor:b]\ntype = bucket\nbucket = x", "EVERY = 5m", "every"),
        ("[flowstone:sensor:b]\ntype = bucket", "Bucket = x", "bucket"),
        ("[flowstone:sensor:b]\nbucket = x", "Type = bucket", "type"),
        ("[flowstone:sensor:b]\ntype = nothing", "Every: 5m", "every"),
        ("[flowstone:schedule:s]\nasset = a", "Catchup-Window = 1d", "catchup_window"),
        ("[flowstone:schedule:s]\nasset = a", "catchup-window = 1d", "catchup_window"),
        ("[flowstone:schedule:s]\nasset = a", "catchupWindow = 1d", "catchup_window"),
        ("[flowstone:sensor:b]\ntype = bucket\nbucket = x", "MaxEvents = 5", "max_events"),
        ("[flowstone:sensor:b]\ntype = nothing", "first poll = fire", "first_poll"),
    ],
)
def test_W3_setting_in_capitals_gets_a_suggestion(
    problems, section: str, line: str, meant: str
) -> None:
    found = problems(f"{section}\n{line}\n")
    key = line.split("=", maxsplit=1)[0].split(": ", maxsplit=1)[0].strip()
    number = section.count("\n") + 2
    title = section.partition("\n")[0]
    wanted = f"flowstone.cfg:{number}: {title} {key}: unknown setting (did you mean '{meant}'?)"
    assert wanted in found
    assert not [each for each in found if "missing setting" in each and meant in each]


def test_W3_unknown_name_in_capitals_is_not_shown(problems) -> None:
    (text,) = problems("[flowstone]\nHunter2 = x\n")
    assert "Hunter2" not in text
    assert "invalid setting name (not shown: it may be a secret)" in text


@pytest.mark.parametrize(
    ("section", "line", "meant"),
    [
        ("[flowstone]", "Grace-Time = 5s", "grace"),
        ("[flowstone]", "StoreWaits = 5s", "store_wait"),
        ("[flowstone:sensor:b]\ntype = bucket\nbucket = x", "Max-Event = 5", "max_events"),
        ("[flowstone:schedule:s]\nasset = a", "TIMEZONES = UTC", "timezone"),
    ],
)
def test_W3_name_near_to_a_setting_gets_a_suggestion(
    problems, section: str, line: str, meant: str
) -> None:
    found = problems(f"{section}\n{line}\n")
    (text,) = [each for each in found if "invalid setting name" in each]
    assert f"did you mean '{meant}'? use small letters" in text
    assert line.partition(" ")[0] not in text


def test_W3_setting_in_other_letters_is_validated_as_the_one_meant(problems) -> None:
    spelt, value = problems("[flowstone]\npollThreads = x\n")
    assert spelt.endswith("pollThreads: unknown setting (did you mean 'poll_threads'?)")
    assert value.startswith("flowstone.cfg:2: [flowstone] poll_threads: ")


def test_W3_setting_given_twice_in_two_spellings_is_told(problems) -> None:
    (text,) = problems("[flowstone]\nstore = sqlite://\nStore = sqlite://\n")
    assert text == "flowstone.cfg:3: [flowstone] store: duplicate setting (first set on line 2)"
    found = problems("[flowstone]\nHunter = x\nHUNTER = x\nhunter = x\n")
    assert len(found) == 3
    assert not [each for each in found if "unter" in each or "HUNTER" in each]


def test_W3_secret_in_a_setting_in_capitals_stays_hidden(problems) -> None:
    found = problems("[flowstone]\nApi_Token = hunter22\nstore = ${hunter22\npoll_threads = q\n")
    assert "hunter22" not in "".join(found)


def test_W4_settings_with_colons_are_read(check) -> None:
    project = check("[flowstone]\nstore: sqlite:///x.db\npoll_threads :  5\n")
    assert project.run.poll_threads == 5
    assert project.run.store.endswith("x.db")


@pytest.mark.parametrize("line", ["poll_threads:5", "poll_threads:5=6"])
def test_W4_colon_without_a_blank_says_what_to_write(problems, line: str) -> None:
    (text,) = problems(f"[flowstone]\n{line}\n")
    assert "write '=' or ': ' after the name" in text


@pytest.mark.parametrize("separator", [", ", ",", " , "])
def test_N20_references_with_commas_are_told_to_stand_on_lines(problems, separator: str) -> None:
    (text,) = problems(f"[flowstone]\npipelines = shop:a{separator}shop:b\n")
    assert text.endswith("(write one on each line, without commas)")


def test_N20_plugins_with_commas_are_told_to_stand_on_lines(problems) -> None:
    (text,) = problems("[flowstone]\nplugins = flowstone-s3, flowstone-db\n")
    assert "write one distribution a line" in text


@pytest.mark.parametrize("comment", ["# at night", "; at night"])
def test_N20_problem_with_an_inline_comment_says_so(problems, comment: str) -> None:
    (text,) = problems(f"[flowstone]\npoll_threads = 5  {comment}\n")
    assert "must be a whole number" in text
    assert "inline comment is part of the value: write the comment on a separate line" in text


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize(
    "before", ["[flowstone]\npipelines =", "[flowstone:sensor:b]\ntype = bucket\non_trigger ="]
)
def test_N20_reference_with_quotes_or_comment_says_so(problems, before: str, quote: str) -> None:
    found = problems(f"{before} {quote}no_such:p{quote}\n")
    assert [each for each in found if "remove them" in each]
    found = problems(f"{before} no_such:p # mine\n")
    assert [each for each in found if "write the comment on a separate line" in each]


@pytest.mark.parametrize("quote", ["'", '"'])
def test_N20_problem_with_quotes_says_to_remove_them(problems, quote: str) -> None:
    (text,) = problems(f"[flowstone]\npoll_threads = {quote}5{quote}\n")
    assert "quotes are part of the value: remove them" in text
