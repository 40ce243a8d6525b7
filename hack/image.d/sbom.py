"""CycloneDX of the crates that are linked into the program, from `cargo metadata` on stdin.

Arguments: when it was made, in seconds since 1970; a file of what `cargo tree` prints for the same
target. Metadata knows licenses and who needs whom, but also what tests, scripts and features that
are off would bring; the tree knows what is linked.
"""

import datetime
import json
import sys


def in_tree(path):
    """Name and version of each package in a file of `cargo tree --prefix none`."""
    with open(path) as lines:
        words = [line.split() for line in lines if line.strip()]
    return {(name, version.removeprefix("v")) for name, version, *_ in words}


def linked(metadata, packages, tree):
    """The ids of the tree's packages that the root reaches, and who needs whom: has to be all."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting, found = [metadata["resolve"]["root"]], {}
    while waiting:
        this = waiting.pop()
        if this in found:
            continue
        # Scripts and tests (kinds `build` and `dev`) leave no code in the program.
        normal = [need["pkg"] for need in nodes[this]["deps"] if any(kind["kind"] is None for kind in need["dep_kinds"])]
        needs = [id for id in normal if named(packages[id]) in tree]
        found[this] = needs
        waiting += needs
    missing = tree - {named(packages[id]) for id in found}
    if missing:
        sys.exit(f"sbom.py: linked, as cargo tree says, and not found by metadata: {sorted(missing)}")
    return found


def named(package):
    return package["name"], package["version"]


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, kind):
    described = {"type": kind, "bom-ref": purl(package), "name": package["name"], "version": package["version"], "purl": purl(package)}
    if package["license"]:
        described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return described


def main():
    metadata = json.load(sys.stdin)
    made = datetime.datetime.fromtimestamp(int(sys.argv[1]), datetime.timezone.utc)
    packages = {package["id"]: package for package in metadata["packages"]}
    root = metadata["resolve"]["root"]
    needs = linked(metadata, packages, in_tree(sys.argv[2]))
    libraries = sorted((packages[id] for id in needs if id != root), key=purl)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": component(packages[root], "application")},
        "components": [component(package, "library") for package in libraries],
        "dependencies": [
            {"ref": purl(packages[id]), "dependsOn": sorted({purl(packages[need]) for need in needs[id]})}
            for id in sorted(needs, key=lambda id: purl(packages[id]))
        ],
    }
    json.dump(document, sys.stdout, indent=1)
    print()


main()
