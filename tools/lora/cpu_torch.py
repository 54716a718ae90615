"""Lets PyTorch's wheel for GPUs run on a processor alone, without the 4 GB of GPU libraries that it names.

The package registry carries one wheel for Linux, and it is linked against NVIDIA's libraries: without them it cannot even be
imported. Nothing in them is called on a processor, so one small library stands in for all: every function that the wheel takes from
them is there and answers "no device" (cudaErrorNoDevice, 100), by which PyTorch knows that it has no GPU. Where a real library is
installed nothing is put in its place.

    python cpu_torch.py FOLDER    # of site-packages; needs cc and readelf (build-essential)
"""

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# The functions and the one variable of NVIDIA's libraries, by how their names begin.
FOREIGN = re.compile(r"_*(cu|nccl|nvshmem|nvrtc|nvJit|nvtx)\w*")
STAND_IN = "libno_gpu.so"


def needed(library: Path) -> set[str]:
    """The libraries that a library names."""
    said = subprocess.run(["readelf", "-dW", library], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", said))


@dataclass(frozen=True, order=True)
class Symbol:
    """A name that a library takes from another."""

    name: str
    version: str
    variable: bool


def taken(library: Path) -> set[Symbol]:
    """What a library takes from NVIDIA's."""
    said = subprocess.run(["readelf", "--dyn-syms", "-W", library], check=True, capture_output=True, text=True).stdout
    symbols = set()
    for row in (line.split() for line in said.splitlines()):
        if len(row) > 7 and row[6] == "UND":
            name, _, version = row[7].partition("@")
            if FOREIGN.fullmatch(name):
                symbols.add(Symbol(name, version, row[3] == "OBJECT"))
    return symbols


def source(symbols: list[Symbol]) -> str:
    """The stand-in, in C."""
    lines = []
    for symbol in symbols:
        if symbol.variable:
            lines.append(f"long {symbol.name}[16];")
        elif symbol.name.endswith(("ErrorString", "ErrorName")):
            lines.append(f'const char *{symbol.name}(void) {{ return "the GPU packages are not installed"; }}')
        else:
            lines.append(f"long {symbol.name}(void) {{ return 100; }}")
    return "\n".join(lines) + "\n"


def versions(symbols: list[Symbol]) -> str:
    """The linker's script that gives each name the version by which it is asked for; the loader refuses another."""
    names: dict[str, list[str]] = {}
    for symbol in symbols:
        if symbol.version:
            names.setdefault(symbol.version, []).append(symbol.name)
    return "".join(f"{version} {{ global: {'; '.join(group)}; }};\n" for version, group in names.items())


def main() -> None:
    packages = Path(sys.argv[1])
    folder = packages / "torch" / "lib"
    libraries = sorted(path for path in folder.glob("*.so*") if path.is_file() and not path.is_symlink() and path.name != STAND_IN)
    if not libraries:
        sys.exit(f"cpu_torch: there is no PyTorch under {packages}")
    here = {path.name for path in libraries} | {path.name for path in packages.glob("nvidia/**/*.so*")}
    missing = sorted(
        name for name in set().union(*map(needed, libraries)) - here if FOREIGN.match(name.removeprefix("lib")) and name != "libcuda.so.1"
    )
    if not missing:
        print("cpu_torch: the GPU libraries are installed; nothing to do")
        return
    symbols = sorted(set().union(*map(taken, libraries)))
    with tempfile.TemporaryDirectory() as work:
        code, script = Path(work, "stand_in.c"), Path(work, "versions.ld")
        code.write_text(source(symbols))
        script.write_text(versions(symbols))
        built = ["cc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,--version-script={script}", "-o", str(folder / STAND_IN), str(code)]
        subprocess.run(built, check=True)
    for name in missing:
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(STAND_IN)
    print(f"cpu_torch: {STAND_IN} stands in for {len(missing)} GPU libraries ({len(symbols)} names)")


if __name__ == "__main__":
    main()
