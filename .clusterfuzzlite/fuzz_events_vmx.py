"""VMX's events under libFuzzer: `python fuzz_events_vmx.py [FLAGS] [CORPUS ..]`. What is not in
corpus/known.yaml is a crash."""

import sys

from fuzz.campaign.crash import fuzz
from fuzz.findings.known import read_known
from fuzz.schedule.seeds import KNOWN

if __name__ == "__main__":
    fuzz("vmx", read_known(KNOWN), sys.argv[1:])
