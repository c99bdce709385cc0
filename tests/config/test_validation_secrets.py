"""Secrets of a configuration: no problem and no warning shows one."""

CANARY = "c4n4ry-Z9qXv7Kp"

SECRETS = f"""\
[flowstone]
store = postgresql://me:{CANARY}@host/db
engine = ${{SECRET}}
poll_threads = ${{SECRET}}
password =
{CANARY}a
secret_key =
c4n4ry = ={CANARY}
pipelines = ${{SECRET}}
lease = {CANARY}-1
plugins = ${{SECRET}}
[flowstone:sensor:a]
type = ${{SECRET}}
asset = ${{SECRET}}
every = ${{SECRET}}
[flowstone:sensor:b]
type = bucket
bucket = ${{SECRET}}
prefix = {"x" * 50}${{SECRET}}
secret_key = {CANARY}
secret_kye = {CANARY}
pages = https://me:{CANARY}@{"host" * 30}
max_events = 1 ${{SECRET}}
token =
canary = {CANARY}
"""


def test_problems_show_no_secret(problems):
    text = SECRETS.replace(f"lease = {CANARY}-1\n", "")
    said = problems(text, environ={"SECRET": CANARY})
    assert len(said) > 15
    for message in said:
        for start in range(len(CANARY) - 6):
            assert CANARY[start : start + 6] not in message, message


def test_empty_secret_leaves_messages_unchanged(problems):
    assert problems("[flowstone]\ntoken =\n")[0].startswith(
        "flowstone.cfg:2: [flowstone] token: unknown setting (known: "
    )


def test_store_given_in_python_is_redacted(check):
    project = check("", store=f"postgresql://me:{CANARY}%40x@host/db")
    assert project.redactor(f"no: {CANARY}@x") == "no: ***"
