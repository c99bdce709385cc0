"""What the tests of the contract share: a judge."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.testing.rows")

from tests.testing.rows import CHECKS, RowsContract  # noqa: E402 - it is to be rewritten first


@pytest.fixture
def judge(tmp_path):
    """Have each check judge a sensor; returns what failed and what was skipped, by check."""

    def judge(sensor_class, checks=CHECKS, /, **terms):
        failed, skipped = {}, {}
        terms = {"sensor_class": sensor_class, "patience": 20.0} | terms
        kind = type("Contract", (terms.pop("contract", RowsContract),), terms)
        for name in checks:
            contract = kind()
            folder = tmp_path / name
            folder.mkdir()
            with contract.opened(folder):
                try:
                    getattr(contract, name)()
                except pytest.fail.Exception as failure:
                    failed[name] = str(failure)
                except pytest.skip.Exception as skip:
                    skipped[name] = str(skip)
                finally:
                    for driver in contract._drivers:
                        driver.close()
        return failed, skipped

    return judge
