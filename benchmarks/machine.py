"""What a benchmark ran on: processor, its class, threads and versions, as every page prints them.

    python benchmarks/machine.py               # of this machine
    python benchmarks/machine.py --page        # where the benchmarks of its class stand
    python benchmarks/machine.py --heading     # how that page begins

Classes of processors, by what decides the speed of a model: "AVX2" and "AVX-512", where float32 is fastest;
"AVX-512 bf16", where bfloat16 is; "AMX", which multiplies matrices of bfloat16 in hardware. A processor may
know bfloat16 and yet be slower in it, so the class is measured, as ``precision="auto"`` does. With
``ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2`` a newer processor works like
one of the first class.
"""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from plmlearn.training.devices import resolve_precision

PACKAGES = ("torch", "transformers", "peft", "scikit-learn")


def processor_class() -> str:
    """ "AVX2", "AVX-512", "AVX-512 bf16" or "AMX"; of other processors the architecture."""
    capability = torch.backends.cpu.get_cpu_capability()
    if not capability.startswith("AVX"):
        return platform.machine()
    if not has_fast_bf16():
        return capability.replace("AVX512", "AVX-512")
    return "AMX" if torch.cpu.get_capabilities().get("amx_bf16") else "AVX-512 bf16"


def has_fast_bf16() -> bool:
    """Whether ``precision="auto"`` takes bfloat16 on this processor."""
    return resolve_precision("auto", torch.device("cpu")) == "bf16"


def processor() -> str:
    """The processor's name, as far as the system tells it, and its class."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())
    return f"{name} ({processor_class()})"


def machine(*packages: str) -> str:
    """Processor, threads and versions."""
    n = torch.get_num_threads()
    versions = ", ".join(f"{name} {version(name)}" for name in packages or PACKAGES)
    threads = f"{n} thread{'s' * (n > 1)}"
    where = processor()
    if torch.cuda.is_available():
        where = f"{torch.cuda.get_device_name()}, {where}"
    return f"{where}, {threads}, Python {platform.python_version()}, {versions}"


HEADINGS = {
    "AVX2": "AVX2",
    "AVX-512": "AVX-512 with slow bfloat16",
    "AVX-512 bf16": "AVX-512 with fast bfloat16",
    "AMX": "AMX",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--heading", action="store_true")
    options = parser.parse_args()
    kind = processor_class()
    if options.page:
        print(f"docs/benchmarks/{kind.lower().replace(' ', '-')}.md")
    elif options.heading:
        print(f"# {HEADINGS.get(kind, kind)}\n")
    else:
        print(machine())


if __name__ == "__main__":
    main()
