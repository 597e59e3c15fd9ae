"""What a campaign found as JUnit XML, which CI systems show: a test case a signature."""

from collections.abc import Collection, Sequence
from io import BytesIO
from pathlib import Path

from junitparser import Failure, JUnitXml, TestCase, TestSuite

from fuzz.compare.signature import Form
from fuzz.report.folder import in_order, sentence, slug
from fuzz.schedule.file import write_whole


def write_junit(file: Path, forms: Sequence[Form], known: Collection[str], out: Path) -> None:
    """Write `file`: signatures that are not `known` have failed, with their traces of the campaign
    in `out`. Raises OSError."""
    suite = TestSuite("eventdiff")
    for form in in_order(forms):
        signature = form.signature
        case = TestCase(str(signature), f"eventdiff.{signature.vendor}.{signature.kind}")
        if str(signature) not in known:
            failure = Failure(sentence(form.divergence), signature.kind)
            failure.text = (out / slug(signature) / "trace.txt").read_text()
            case.result = [failure]
        suite.add_testcase(case)
    xml = JUnitXml("eventdiff")
    xml.add_testsuite(suite)
    data = BytesIO()
    xml.write(data)
    write_whole(file, data.getvalue())
