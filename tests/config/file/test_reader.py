import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstone_core.config.file.reader import LINE_LIMIT, Config, hidden_in_urls, load
from flowstone_core.errors import ValidationError

CANARY = "c4n4ry-Z9qXv7Kp"


@pytest.fixture
def read(tmp_path):
    def read(text, environ=None, name="flowstone.cfg"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, environ or {})

    return read


def said(config, tmp_path):
    return [str(problem).replace(f"{tmp_path}{os.sep}", "") for problem in config.problems]


def warned(config, tmp_path):
    return [str(problem).replace(f"{tmp_path}{os.sep}", "") for problem in config.warnings]


def test_settings_with_their_lines(read, tmp_path):
    config = read(
        "[metadata]\nname = shop\nno key: fine\nbare\n\n"
        "[flowstone]\nstore = sqlite:///f.db\nplugins =\n    one\n    two\n\n"
        "[flowstone:sensor:new_orders]\ntype = s3_file_arrival\n"
        "[ flowstone : sensor : oth:er ]\nTYPE_x = no\n"
    )
    assert config.file == tmp_path / "flowstone.cfg"
    assert config.run is not None
    assert config.run.name == "flowstone"
    assert (config.run.line, config.run.title) == (6, "[flowstone]")
    assert {key: (s.value, s.line) for key, s in config.run.settings.items()} == {
        "store": ("sqlite:///f.db", 7),
        "plugins": ("one\ntwo", 8),
    }
    assert config.run.where("plugins") == f"{config.file}:8"
    assert config.run.where("nothing") == config.run.where() == f"{config.file}:6"
    assert [name for name, _ in config.sensors] == ["new_orders", "oth:er"]
    assert config.sensors[0][1].settings["type"].value == "s3_file_arrival"
    assert not config.empty


@pytest.mark.parametrize("text", ["", "\ufeff", "# only\n", "[metadata]\nname: x\n bare\n[x"])
def test_file_without_flowstone_sections_is_empty(read, text):
    config = read(text)
    assert config.empty
    assert config == Config(config.file)


def test_byte_order_mark_is_accepted(read):
    assert read("\ufeff[flowstone]\nstore = é\n").run.settings["store"].value == "é"


def test_C1_all_problems_are_reported_at_once(read, tmp_path):
    config = read(
        "stray = 1\n"  # 1
        "[flowstone]\n"
        "store = ${MISSING}\n"
        "store = again\n"  # 4
        "Engine! = local\n"
        "not a setting\n"
        "[flowstone:sensor:a\n"  # 7
        "every = ${every\n"
        "prefix = ${PREFIX\n"
        "[flowstone:sensor:a]\n"  # 10
        "[flowstone] store = x\n"
        "[flowstone:sensors:b]\n"
    )
    assert said(config, tmp_path) == [
        "flowstone.cfg:1: line before the first section (a section begins with [NAME])",
        (
            "flowstone.cfg:6: [flowstone]: invalid line: neither 'key = value' nor indented (not "
            "shown: it may hold a secret) (only indented lines continue a value)"
        ),
        (
            "flowstone.cfg:3: [flowstone] store: environment variable MISSING is not set "
            "(set it, or write ${MISSING:-default})"
        ),
        "flowstone.cfg:4: [flowstone] store: duplicate setting (first set on line 3)",
        (
            "flowstone.cfg:5: [flowstone]: invalid setting name (not shown: it may "
            "be a secret) (use small letters, digits and '_', followed by '=')"
        ),
        "flowstone.cfg:7: [flowstone:sensor:a]: missing closing ']'",
        (
            "flowstone.cfg:9: [flowstone:sensor:a] prefix: invalid variable reference: '${' "
            "without a name or '}' (write ${NAME} or ${NAME:-default}, or '$$' for a '$' as it is)"
        ),
        ("flowstone.cfg:10: [flowstone:sensor:a]: duplicate section (first declared on line 7)"),
        (
            "flowstone.cfg:11: [flowstone]: text after the ']' is ignored "
            "(settings begin on the line below)"
        ),
        "flowstone.cfg:11: [flowstone]: duplicate section (first declared on line 2)",
        (
            "flowstone.cfg:12: [flowstone:sensors:b]: unknown section (did you "
            "mean [flowstone:sensor:b]? FlowStone's sections are [flowstone], "
            "[flowstone:sensor:NAME] and [flowstone:schedule:NAME])"
        ),
    ]


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("flowston", "[flowstone]"),
        ("Flowstone", "[flowstone]"),
        ("flow-stone", "[flowstone]"),
        ("tool:flowstone", "[flowstone]"),
        ("tool.flowstone", "[flowstone]"),
        ("flowstone:sensors:x", "[flowstone:sensor:x]"),
        ("flowstone.sensor.x", "[flowstone:sensor:x]"),
        ("flowstone:senser:x", "[flowstone:sensor:x]"),
        ("flowstone sensor x", "[flowstone:sensor:x]"),
        ("flostone:sensor:x", "[flowstone:sensor:x]"),
        ("flowstone:sensor", "[flowstone:sensor:NAME]"),
        ("tool.flowstone.sensor.x", "[flowstone:sensor:x]"),
    ],
)
def test_C2_misspelt_section_gets_a_suggestion(read, header, meant):
    (problem,) = read(f"[{header}]\nkey = {CANARY}\n").problems
    assert problem.message == "unknown section"
    assert problem.subject == f"[{header}]"
    assert problem.where.endswith(".cfg:1")
    assert problem.hint.startswith(f"did you mean {meant}?")


def test_unknown_kind_of_section_lists_the_allowed_ones(read):
    (problem,) = read("[flowstone:job:daily]\ncron = 0 2 * * *\n").problems
    allowed = "[flowstone], [flowstone:sensor:NAME] and [flowstone:schedule:NAME]"
    assert problem.hint == f"FlowStone's sections are {allowed}"


@pytest.mark.parametrize(
    "header", ["flake8", "tool:pytest", "flow", "tool", "", "options.extras", "flower", "x" * 9999]
)
def test_sections_of_other_tools_are_ignored(read, header):
    assert read(f"[{header}]\n  [id]\nfree: text\nbare\n").empty


def test_C2_indented_header_is_found_in_any_section(read, tmp_path):
    config = read(
        "[metadata]\nname = x\n  [flowstone:sensor:a]\n  [tool:pytest]\n"
        "[flowstone]\nstore = x\n  [flowston]\n  [tool:pytest]\n  [options.extras]\n"
    )
    assert said(config, tmp_path) == [
        f"flowstone.cfg:{line}: {header}: indented section header is part of {section} "
        "(remove the blanks before it)"
        for line, header, section in [
            (3, "[flowstone:sensor:a]", "[metadata]"),
            (7, "[flowston]", "[flowstone]"),
            (8, "[tool:pytest]", "[flowstone]"),
            (9, "[options.extras]", "[flowstone]"),
        ]
    ]
    assert config.run.settings["store"].value == "x"


def test_value_may_span_lines(read):
    sql = "SELECT id,\n[name],\n[1, 2]\nFROM orders\nWHERE\ntype = 'x'"
    indented = sql.replace("\n", "\n      ")
    config = read(f"[flowstone:sensor:a]\nsql =\n      {indented}\n")
    setting = config.sensors[0][1].settings["sql"]
    assert config.problems == ()
    assert setting.value == sql
    assert [(s.key, s.line, s.likely) for s in setting.swallowed] == [("type", 8, False)]


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        ("sql = SELECT\n  type = 1", [True]),
        ("sql =\n  type = 1\n  asset = 2", [True, False]),
        ("sql =\n  SELECT\n  == 1\n  Type = 1", []),
    ],
)
def test_C2_lines_that_look_like_settings_are_recorded(read, text, likely):
    setting = read(f"[flowstone:sensor:a]\n{text}\n").sensors[0][1].settings["sql"]
    assert [line.likely for line in setting.swallowed] == likely


def test_C2_default_section_is_not_applied(read, tmp_path):
    config = read(
        "[DEFAULT]\nevery = 5s\nasset = x\nhome = y\n[flowstone]\n[default]\nevery = 1s\n"
    )
    assert config.run.settings == {}
    assert warned(config, tmp_path) == [
        (
            "flowstone.cfg:1: [DEFAULT]: asset, every has no effect in FlowStone "
            "([DEFAULT] is not applied: write each setting in its section)"
        )
    ]
    assert read("[DEFAULT]\nhome = y\n").warnings == ()


def test_C1_lone_percent_is_a_warning_in_setup_cfg_only(read, tmp_path):
    text = "[flowstone:sensor:a]\nprefix = %Y/%%d\n"
    config = read(text, name="setup.cfg")
    assert config.sensors[0][1].settings["prefix"].value == "%Y/%d"
    assert warned(config, tmp_path) == [
        (
            "setup.cfg:2: [flowstone:sensor:a] prefix: a lone '%' breaks setuptools, which reads "
            "this file too (write '%%', which means '%')"
        )
    ]
    assert read(text).warnings == ()
    assert read("[flowstone]\nstore = a%%b\n", name="setup.cfg").warnings == ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("30s  # often", "inline comment is part of the value"),
        ("30s ; often", "inline comment is part of the value"),
        ('"30s"', "quotes are part of the value"),
        ("'30s'", "quotes are part of the value"),
    ],
)
def test_C2_inline_comment_or_quotes_are_a_warning(read, value, message):
    setting = read(f"[flowstone:sensor:a]\nevery = {value}\n").sensors[0][1].settings["every"]
    assert [each for each, _ in setting.oddities] == [message]
    assert setting.value == value


@pytest.mark.parametrize("value", ["a#b", "x;y", "'a' = 'b'", "\n  SELECT 1 ; \n  # comment", "'"])
def test_plain_value_has_no_warning(read, value):
    config = read(f"[flowstone]\nstore = {value}\n")
    assert config.warnings == config.run.settings["store"].oddities == ()


def test_variable_comes_from_the_given_environment(read, monkeypatch):
    monkeypatch.setenv("BUCKET", "not this one")
    config = read(
        "[flowstone:sensor:a]\nbucket = ${BUCKET}\nprefix = ${year}/$$\nkey = ${NO:-none}\n",
        {"BUCKET": "${year}"},
    )
    values = {key: setting.value for key, setting in config.sensors[0][1].settings.items()}
    assert values == {"bucket": "${year}", "prefix": "${year}/$", "key": "none"}


def test_secrets_are_recorded_and_not_shown(read):
    config = read(
        f"[flowstone]\nstore = postgresql://me:{CANARY}@host/db\n"
        f"secret_key = {CANARY}\nfrom_env = ${{SOME}}/x\nshort = ${{ENV}}\n"
        "short_secret = ${ENV}\nnamed = ${PASSWORD}-x\nplain = orders\n"
        "password =\nunnamed = ${TOKEN}\n",
        {"SOME": CANARY, "ENV": "prod", "PASSWORD": "pw", "TOKEN": ""},
    )
    settings = config.run.settings
    assert {key: setting.secrets for key, setting in settings.items()} == {
        "store": (CANARY, CANARY),
        "secret_key": (CANARY,),
        "from_env": (CANARY,),
        "short": (),
        "short_secret": ("prod",),
        "named": ("pw",),
        "plain": (),
        "password": (),
        "unnamed": (),
    }
    assert {key: setting.shown for key, setting in settings.items()} == {
        "store": "postgresql://me:***@host/db",
        "secret_key": "***",
        "from_env": "***/x",
        "short": "***",
        "short_secret": "***",
        "named": "***-x",
        "plain": "orders",
        "password": "***",
        "unnamed": "",
    }
    assert settings["from_env"].secret
    assert not settings["plain"].secret
    assert CANARY not in repr(config)


def test_secret_indented_by_mistake_is_recorded(read):
    config = read(
        f"[flowstone]\nstore = sqlite://\n  password = {CANARY}\n  bucket = orders\n  token =\n"
    )
    setting = config.run.settings["store"]
    assert setting.secrets == (CANARY,)
    assert setting.shown == "sqlite://\npassword = ***\nbucket = orders\ntoken ="


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://me:pw@host/db", {"pw"}),
        ("postgresql://me:p%40w@host/db", {"p%40w", "p@w"}),
        ("postgresql://me:p@w@host/db", {"p", "p@w"}),
        ("postgresql://me:p/w@host/db", {"p/w"}),
        ("postgresql://:pw@host", {"pw"}),
        ("postgresql://me:@host/db", set()),
        ("postgresql://me:@p@host/db", {"@p"}),
        ("postgresql://host/db?user=me&password=p%20w", {"p%20w", "p w"}),
        ("sqlite:///flowstone.db", set()),
        ("postgresql://me:p w@host/db\nhttp://u:x@h", {"p w", "x"}),
        ("postgresql://me:pw", {"pw"}),
        ("postgresql:/me:pw", set()),
        ("postgresql://me:123@host/db", {"123"}),
        ("host=h user=me password=pw", {"pw"}),
        ("Server=h;Password=pw;x=y", {"pw"}),
        ("password=pw", {"pw"}),
        ("http://host:80/a@b http://[::1]:80/ http://host:8080", set()),
    ],
)
def test_passwords_in_urls_are_found(text, hidden):
    assert set(hidden_in_urls(text)) == hidden


def test_overlong_lines_are_refused_quickly(read, tmp_path):
    blanks = "x" + " " * (LINE_LIMIT - 10) + "y"
    started = time.process_time()
    config = read(
        "[flowstone]\n" + f"{blanks}\n" * 100 + f"store = {CANARY * 1000}\nengine = local\n"
        "[other]\n" + "x" * 1_000_000
    )
    assert time.process_time() - started < 2
    assert config.problems[0].message == "line has 200 blanks in a row"
    assert said(config, tmp_path)[100] == (
        f"flowstone.cfg:102: [flowstone]: line is longer than {LINE_LIMIT} characters"
    )
    assert len(config.problems) == 101
    assert list(config.run.settings) == ["engine"]


def test_C4_thousands_of_sections_are_read(read):
    config = read("".join(f"[flowstone:sensor:s{i}]\ntype = x\nevery = 5s\n" for i in range(3_000)))
    assert len(config.sensors) == 3_000
    assert config.problems == ()


def test_missing_named_file_is_an_error(tmp_path):
    with pytest.raises(ValidationError) as caught:
        load(tmp_path / "none.cfg", {})
    assert str(caught.value) == (
        f"{tmp_path}/none.cfg: file not found "
        "(without a file name, setup.cfg and flowstone.cfg are read)"
    )


def test_default_files_are_searched_without_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(None, {}) == Config()
    shared, own = Path("setup.cfg"), Path("flowstone.cfg")
    own.write_text("[other]\n")
    assert load(None, {}).file == own
    shared.write_text("[metadata]\n")
    assert load(None, {}).file == shared
    own.write_text("[flowstone]\n")
    assert load(None, {}).file == own
    shared.write_text("[flowston]\n")
    config = load(None, {})
    assert config.file == shared
    assert len(config.problems) == 1
    assert [str(warning) for warning in config.warnings] == [
        (
            "flowstone.cfg: file ignored: setup.cfg has sections for FlowStone "
            "(keep all sections in one file, or choose the file with --config)"
        )
    ]


def test_default_file_that_is_a_directory_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("setup.cfg").mkdir()
    with pytest.raises(ValidationError, match=r"^setup\.cfg: is a directory, not a file$"):
        load(None, {})


def test_unprintable_characters_of_a_header_are_escaped(read):
    (problem,) = read("[flowstone:\x1b[31mred\x07]\n").problems
    assert "\x1b" not in str(problem)
    assert "\x07" not in str(problem)


LINES = [
    b"[flowstone]",
    b"[flowstone:sensor:a]",
    b"[flowstone:sensors:a]",
    b"[other]",
    b"[DEFAULT]",
    b"secret_key = " + CANARY.encode(),
    b"secret_key =\n" + CANARY.encode() + b"==",
    b"password = " + CANARY.encode() + b" # %",
    b"url = postgres://me:" + CANARY.encode() + b"@h/db",
    b"bucket = ${BUCKET}",
    b"bucket = ${MISSING}${",
    b"  indented = 1",
    b"  [flowstone]",
    b"key: value",
    CANARY.encode(),
    CANARY.encode("utf-16"),
    b"\xef\xbb\xbf",
    b"\xff\x00",
    "secret_key = é".encode("latin-1"),
]


def everything_said(path, environ):
    try:
        config = load(path, environ)
    except ValidationError as error:
        return str(error) + repr(error)
    return repr(config) + "".join(map(str, [*config.problems, *config.warnings]))


@settings(max_examples=300)
@given(st.lists(st.sampled_from(LINES) | st.binary(max_size=6), max_size=12), st.binary(max_size=2))
def test_any_bytes_are_a_config_or_an_error_without_secrets(tmp_path_factory, lines, end):
    path = tmp_path_factory.getbasetemp() / "fuzz.cfg"
    path.write_bytes(end.join([b"", *(line + b"\n" for line in lines)]))
    assert CANARY[:8] not in everything_said(path, {"BUCKET": CANARY})


@given(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=3))
def test_broken_file_shows_no_secret(tmp_path_factory, position, gone, junk):
    text = (
        f"[flowstone]\nstore = postgres://me:{CANARY}@h/db\n[flowstone:sensor:a]\n"
        f"secret_key = {CANARY}\nbucket = ${{BUCKET}}\ntoken =\n    {CANARY}\n"
    ).encode()
    path = tmp_path_factory.getbasetemp() / "broken.cfg"
    path.write_bytes(text[:position] + junk + text[position + gone :])
    assert CANARY not in everything_said(path, {"BUCKET": CANARY})


@pytest.mark.parametrize(
    "text",
    [
        "[metadata]\nname = x[flowstone]\nstore = sqlite://\n",
        "# the end[flowstone]\npipelines: a:b\n",
        "[metadata]\nclassifiers =\n  One [ flowstone:sensor:a ] \ntype = webhook\n",
        "[options][flowstone:schedule:n]\ncron = 0 2 * * *\n",
    ],
)
def test_X8_header_glued_to_the_line_before_is_told(read, tmp_path, text):
    (problem,) = [each for each in read(text).problems if "no section" in each.message]
    assert problem.message.startswith("section header is not at the start of its line")
    assert problem.subject.startswith("[")
    assert problem.hint == "write it on a separate line"


@pytest.mark.parametrize(
    "text",
    [
        "[options]\ninstall_requires =\n  acme[flowstone]\n  other\n",
        "[options]\ninstall_requires = acme[flowstone]\npackages = find:\n",
        "# settings: see [flowstone]\n[metadata]\nname = x\n",
        "[flowstone]\n# see also [flowstone]\npipelines = a:b\n",
    ],
)
def test_X8_brackets_in_a_value_or_a_comment_are_no_header(read, text):
    assert not read(text).problems
