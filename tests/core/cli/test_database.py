"""``flowstone db``."""


def test_a_store_is_made_and_then_there_is_nothing_to_do(shop):
    first = shop.run("db", "upgrade").stdout
    assert first.startswith("the store was upgraded from nothing to revision ")
    revision = first.split()[-1]
    assert shop.run("db", "upgrade").stdout == f"the store has revision {revision} already\n"


def test_a_store_in_postgresql_is_upgraded_by_hand_only(shop, postgresql):
    with postgresql.database() as url:
        shop.write(settings=f"store = {url}\n")
        assert "flowstone db upgrade" in shop.run("status", code=1).stderr
        assert "from nothing" in shop.run("db", "upgrade").stdout
        assert shop.run("status").stdout.startswith("store: postgresql")
